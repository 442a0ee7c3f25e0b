"""CLIPLoss: the modalities of a row lie close to each other, and far from other rows'."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


def symmetric_info_nce(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of finding each row's partner among all, in both directions.

    Shape:
        x (B, D), y (B, D) of unit length, scale () -> (); zero for fewer than two rows
    """
    if len(x) < 2:  # nobody to tell the partner from
        return (x.sum() + y.sum() + scale) * 0.0
    logits = scale * x @ y.T
    partner = torch.arange(len(x), device=x.device)
    return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2


class CLIPLoss(Objective):
    """Symmetric InfoNCE between modalities, on the encoders' own outputs.

    For each pair of modalities, over the rows that have both, with the mean token z of each
    scaled to unit length::

        L_ab = 1/2 [ CE(s Z_a Z_b', diagonal) + CE(s Z_b Z_a', diagonal) ],   s = exp(t) <= 100

    The encoders share one space, in which ``Extractor`` writes their outputs and
    ``mmfuse search`` finds across modalities.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        pairs: pairs of modalities, such as ``[[image, text]]``; all pairs by default.
        temperature: 1 / s at the start; it is learned.

    Raises:
        ConfigError: a temperature outside (0.01, 1], or at ``build``: modalities of unequal
            width, fewer than two, or an unknown name among the pairs.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", ICML 2021, arXiv:2103.00020.

    Departs from the paper: any number of modalities; a row takes part in a pair when it has
    both; negatives come from the process's own batch.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        pairs: Sequence[Sequence[str]] | None = None,
        temperature: float = 0.07,
    ) -> None:
        super().__init__(weight, schedule)
        if not 0.01 < temperature <= 1:
            raise ConfigError(f"temperature is {temperature}; expected more than 0.01, up to 1.")
        self.pairs = pairs
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def build(self, model: FusionModel) -> None:
        """Checks that the encoders can share a space."""
        known = model.modalities
        pairs = self.pairs if self.pairs is not None else list(itertools.combinations(known, 2))
        wrong = [p for p in pairs if len(p) != 2 or len(set(p)) != 2 or not set(p) <= set(known)]
        if wrong or not pairs:
            raise ConfigError(
                f"CLIPLoss: pairs {[list(p) for p in pairs]}; expected pairs of two different "
                f"modalities of {list(known)}."
            )
        widths = {m: model.dims[m] for pair in pairs for m in pair}
        if len(set(widths.values())) > 1:
            raise ConfigError(
                f"CLIPLoss compares outputs of one width; the encoders give {widths}. Give them "
                "the same out_dim."
            )
        self._pairs = [(a, b) for a, b in pairs]

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a pair, each divided by the number of pairs."""
        scale = self.log_scale.exp().clamp(max=100)
        losses = {}
        for a, b in self._pairs:
            if a not in tokens or b not in tokens:
                losses[f"{a}_{b}"] = scale * 0.0
                continue
            both = tokens[a].mask.any(dim=1) & tokens[b].mask.any(dim=1)
            x, y = (F.normalize(tokens[m].pooled()[both], dim=-1) for m in (a, b))
            losses[f"{a}_{b}"] = symmetric_info_nce(x, y, scale) / len(self._pairs)
        return losses
