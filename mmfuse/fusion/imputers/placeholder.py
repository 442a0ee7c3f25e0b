"""PlaceholderImputer: one learned vector for each modality."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.fusion.imputers.base import Imputer


class PlaceholderImputer(Imputer):
    """A learned vector for each absent modality, whatever else is present.

    It learns from the supervised loss of rows that lack something: give the task
    ``modality_dropout`` if the training rows are complete.
    """

    def build(self, dims: Mapping[str, int]) -> None:
        """Makes the vectors."""
        super().build(dims)
        self.vectors = nn.Parameter(torch.randn(sum(dims.values())) * 0.02)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """The same for every row."""
        return self.vectors.expand_as(x)
