"""Pairwise: base of the objectives that compare the modalities of a row, two at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive.pairs import Pairs, pairs_of
from mmfuse.objectives.contrastive.unit import unit
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


@dataclass(frozen=True)
class Side:
    """One modality of a batch, ready to be compared.

    Args:
        vectors: the mean tokens, scaled to unit length, ``(B, D)``; zero where absent.
        present: ``(B,)`` bool, the rows that have the modality.
    """

    vectors: Tensor
    present: Tensor


def sides_of(
    modalities: Sequence[str], model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens]
) -> dict[str, Side]:
    """The modalities' sides; one that no row has is there too, with no row present.

    So every process takes part in every exchange, whatever its rows have.
    """
    columns = dict(zip(model.modalities, model.present(batch).unbind(dim=1), strict=True))
    sides = {}
    for m in modalities:
        if m in tokens:
            there = columns[m] & tokens[m].mask.any(dim=1)
            sides[m] = Side(unit(tokens[m].pooled()), there)
        else:
            nothing = torch.zeros(len(batch), model.dims[m], device=batch.present.device)
            sides[m] = Side(nothing, columns[m] & False)
    return sides


def require_one_width(objective: str, modalities: Sequence[str], model: FusionModel) -> None:
    """Checks that the encoders can share a space.

    Raises:
        ConfigError: outputs of unequal width.
    """
    widths = {m: model.dims[m] for m in model.modalities if m in modalities}
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"{objective} compares outputs of one width; the encoders give {widths}. Give them "
            "the same out_dim."
        )


class Pairwise(Objective):
    """Base of objectives on pairs of modalities, over the rows that have both.

    A subclass writes ``compare`` for one pair; the base chooses the pairs, takes the encoders'
    mean tokens to unit length and divides by the number of pairs.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        pairs: ``all``, ``ring``, ``anchor:NAME``, or a list such as ``[[image, text]]``; all
            pairs by default.

    Raises:
        ConfigError: at ``build``: modalities of unequal width, fewer than two, or no pairs.
        UnknownModalityError: at ``build``, an unknown name among the pairs.
    """

    #: Whether (a, b) and (b, a) are two pairs.
    is_ordered = False

    def __init__(
        self, weight: float = 1.0, schedule: Schedule = "constant", pairs: Pairs = None
    ) -> None:
        super().__init__(weight, schedule)
        self.pairs = pairs

    def build(self, model: FusionModel) -> None:
        """Chooses the pairs and checks that the encoders can share a space."""
        self._pairs = pairs_of(model.modalities, self.pairs, self.is_ordered)
        self._modalities = list(dict.fromkeys(m for pair in self._pairs for m in pair))
        require_one_width(type(self).__name__, self._modalities, model)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a pair, each divided by the number of pairs."""
        sides = sides_of(self._modalities, model, batch, tokens)
        losses = {}
        for a, b in self._pairs:
            both = sides[a].present & sides[b].present
            loss = self.compare(sides[a].vectors, sides[b].vectors, both)
            losses[f"{a}_{b}"] = loss / len(self._pairs)
        return losses

    @abstractmethod
    def compare(self, x: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        """The loss of one pair.

        Shape:
            x (B, D), y (B, D) of unit length, valid (B,) bool, the rows that have both -> ()
        """
