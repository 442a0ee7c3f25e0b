"""MeanImputer: the mean of the training rows."""

from __future__ import annotations

from torch import Tensor

from mmfuse.fusion.imputers.base import FittedImputer


class MeanImputer(FittedImputer):
    """The training mean of an absent modality's vector, whatever else is present.

    The plainest baseline. ``ConcatFusion(fill="mean")`` follows a running mean in its place.
    """

    def remember(self, z: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Nothing besides the mean."""
        return {}

    def expected(self, z: Tensor, present: Tensor) -> Tensor:
        """What is zero once standardised."""
        return z
