"""Means of any number of tensors along the sphere that their directions lie on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from mmfuse.merging.arithmetic import average, slerp

Mean = Literal["slerp", "karcher", "linear"]
# A sum of unit vectors that is shorter points nowhere, and two that cancel so have no one arc.
_NOWHERE = 1e-6


def slerp_fold(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Spherical interpolation from one tensor to the next, each by its share of the sum so far.

    The order matters for three tensors and more; ``karcher_mean`` has none.

    Args:
        values: of equal shape.
        weights: one each, above 0.

    Example:
        >>> right_angle = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])]
        >>> slerp_fold(right_angle, [0.5, 0.5])
        tensor([1.4142, 1.4142])
    """
    found, total = values[0].clone(), weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total += weight
        found = slerp(found, value, weight / total)
    return found


def karcher_mean(values: Sequence[Tensor], weights: Sequence[float], steps: int = 100) -> Tensor:
    """The direction whose weighted sum of squared angles to all is least; its length their mean.

    Of two tensors it is ``slerp``. Where one is zero, or directions cancel, the plain mean.

    Args:
        values: of equal shape; each is seen as one vector.
        weights: one each, that sum to 1.
        steps: at most so many moves along the mean of the arcs to all.

    Reference: Karcher, "Riemannian Center of Mass and Mollifier Smoothing", Communications on
    Pure and Applied Mathematics 30(5), 1977.
    """
    lengths = [torch.linalg.vector_norm(v.double()) for v in values]
    if not min(lengths) > 0:
        return average(values, weights)
    units = [v.double() / length for v, length in zip(values, lengths, strict=True)]
    start = average(units, weights)
    if torch.linalg.vector_norm(start) < _NOWHERE:
        return average(values, weights)
    found = start / torch.linalg.vector_norm(start)
    if min(torch.linalg.vector_norm(found + unit) for unit in units) < _NOWHERE:
        return average(values, weights)
    for _ in range(steps):
        move = average([_arc(found, unit) for unit in units], weights)
        size = torch.linalg.vector_norm(move)
        if size < torch.finfo(found.dtype).eps:
            break
        found = torch.cos(size) * found + torch.sin(size) * move / size
        found = found / torch.linalg.vector_norm(found)
    return (average(lengths, weights) * found).to(values[0].dtype)


def _arc(start: Tensor, end: Tensor) -> Tensor:
    """The tangent at ``start`` along the arc to ``end``, as long as the arc; both of length 1."""
    side = end - (start * end).sum() * start
    length = torch.linalg.vector_norm(side)
    # An arc cosine would lose half of the digits of a small angle.
    angle = 2 * torch.atan2(
        torch.linalg.vector_norm(start - end), torch.linalg.vector_norm(start + end)
    )
    return side if length == 0 else side * (angle / length)


#: How weights of several models become one; they sum to 1.
MEANS: dict[Mean, Callable[[Sequence[Tensor], Sequence[float]], Tensor]] = {
    "slerp": slerp_fold,
    "karcher": karcher_mean,
    "linear": average,
}
