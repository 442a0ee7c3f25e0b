"""RowWeights: how much the rows of each class count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.spec import TargetSpec


class RowWeights(nn.Module):
    """Weights of rows by their class: as the target says, or so that classes count alike.

    Args:
        spec: a target whose classes exclude each other.
        balanced: a row counts one over its class's share of the training rows, so that all
            classes count alike, whatever weights the target has. Otherwise, and where the target
            does not know the shares, it counts as in ``SupervisedLoss``: the target's weight of
            its class, or 1.

    Shape:
        label (...) class numbers, -1 unknown -> (...), zero without a label

    Example:
        >>> spec = TargetSpec("binary", ("no", "yes"), shares=(0.8, 0.2))
        >>> RowWeights(spec, balanced=True)(torch.tensor([0, 1, -1]))
        tensor([1.2500, 5.0000, 0.0000])
        >>> RowWeights(spec, balanced=False)(torch.tensor([0, 1, -1]))
        tensor([1., 1., 0.])
    """

    of_class: Tensor

    def __init__(self, spec: TargetSpec, balanced: bool) -> None:
        super().__init__()
        count = max(spec.out_dim, 2)
        shares = [1 / s for s in spec.shares] if balanced else []
        # A buffer, so that a step copies nothing from the host.
        weights = torch.tensor(shares or list(spec.weights) or [1.0] * count)
        self.register_buffer("of_class", weights, persistent=False)

    def forward(self, label: Tensor) -> Tensor:
        """The weight of each row."""
        return self.of_class[label.clamp(min=0)] * (label >= 0)
