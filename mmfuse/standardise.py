"""Standardise: raw numbers -> zero mean and unit variance, by the training rows' statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.batch import RawInput
from mmfuse.picked import PickedRows
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


class Standardise(nn.Module):
    """Subtracts the training mean and divides by the training deviation.

    It lives in the model, not in the data, so a checkpoint takes raw data as it comes.
    Category codes of a table pass unchanged.

    Args:
        spec: a modality whose ``mean`` and ``std`` are set.

    Shape:
        (B, *spec.shape) -> the same; Tokens and PickedRows likewise
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: ModalitySpec) -> None:
        super().__init__()
        shape = (-1, 1, 1) if spec.kind == "image" else (-1,)
        codes = len(spec.categories)
        mean = torch.tensor((*spec.mean, *[0.0] * codes))
        std = torch.tensor((*spec.std, *[1.0] * codes))
        self.register_buffer("mean", mean.view(shape), persistent=False)
        self.register_buffer("scale", std.reciprocal().view(shape), persistent=False)

    def forward(self, x: RawInput | PickedRows) -> RawInput | PickedRows:
        """Standardises one modality's input."""
        if isinstance(x, Tokens):
            return Tokens((x.values - self.mean) * self.scale, x.mask)
        if isinstance(x, PickedRows):
            return x.standardised(self.mean, self.scale)
        return (x - self.mean).mul_(self.scale)  # in place: a second block costs as much again
