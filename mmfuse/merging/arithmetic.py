"""Arithmetic of merging: tensors that models have in common -> one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfuse.errors import ConfigError

# Below this sine of the angle between two directions, no great circle through them is told
# from rounding.
_SINE = 1e-6


def check_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """One weight for each of several models; equal ones for None.

    Raises:
        ConfigError: there are not as many, one is negative or no number, or they do not sum
            to 1.
    """
    found = [1 / count] * count if weights is None else [float(w) for w in weights]
    if len(found) != count:
        raise ConfigError(f"There are {len(found)} weights for {count} models. Give one for each.")
    if not all(0 <= w <= 1 for w in found) or abs(sum(found) - 1) > 1e-6:
        raise ConfigError(
            f"The weights {found} sum to {sum(found):.6g}; expected numbers from 0 to 1 that sum "
            "to 1."
        )
    return found


def leader(weights: Sequence[float]) -> int:
    """The place of the greatest weight; of equal ones the first."""
    return max(range(len(weights)), key=lambda i: (weights[i], -i))


def average(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean, in float64, rounded once.

    ::

        sum_i w_i v_i = v_k + sum_i w_i (v_i - v_k),   k the greatest weight

    The right side returns an input exactly when its weight is 1, and what all inputs agree
    on, whatever the weights. Whole numbers and truth values are those of input k.

    Args:
        values: of equal shape.
        weights: one each, that sum to 1.

    Example:
        >>> average([torch.tensor([0.0, 2.0]), torch.tensor([4.0, 2.0])], [0.25, 0.75])
        tensor([3., 2.])
    """
    lead = values[leader(weights)]
    if not (lead.is_floating_point() or lead.is_complex()):
        return lead.clone()
    wide = torch.promote_types(lead.dtype, torch.float64)
    start = lead.to(wide)
    total = start.clone()
    for value, weight in zip(values, weights, strict=True):
        if value is not lead and weight:
            # Equal infinities, as masks hold them, differ by nothing.
            total += torch.where(value == lead, 0, weight * (value.to(wide) - start))
    return total.to(lead.dtype)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Spherical interpolation of two tensors, each seen as one vector.

    The direction moves along the great circle at constant speed, the length linearly, with
    theta the angle between u and v::

        d = (sin((1 - l) theta) u / |u| + sin(l theta) v / |v|) / sin(theta)
        slerp(u, v; l) = ((1 - l) |u| + l |v|) d

    Where there is no one great circle, the interpolation is linear: of a zero vector, of
    parallel and of opposite ones, and so of single numbers.

    Args:
        first: what share 0 returns, exactly.
        second: what share 1 returns, exactly.
        share: l, from 0 to 1.

    Reference: Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985.

    Departs from common merging code, which weighs u and v themselves: there a long vector
    draws the direction to its side.

    Example:
        >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), 0.5)
        tensor([1.4142, 1.4142])
    """
    linear = average([first, second], [1 - share, share])
    if not first.is_floating_point() or share in (0, 1):
        return linear
    u, v = first.double(), second.double()
    lengths = torch.linalg.vector_norm(u), torch.linalg.vector_norm(v)
    if not min(lengths) > 0 or not all(n.isfinite() for n in lengths):
        return linear
    u, v = u / lengths[0], v / lengths[1]
    # Of both a small and a wide angle this keeps every digit, where the arc cosine does not.
    theta = 2 * torch.atan2(torch.linalg.vector_norm(u - v), torch.linalg.vector_norm(u + v))
    if torch.sin(theta) < _SINE:
        return linear
    direction = torch.sin((1 - share) * theta) * u + torch.sin(share * theta) * v
    length = (1 - share) * lengths[0] + share * lengths[1]
    return (length * direction / torch.sin(theta)).to(first.dtype)
