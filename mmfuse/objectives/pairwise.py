"""Pairwise: base of the objectives that compare the modalities of a row, two at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive.pairs import Pairs, pairs_of
from mmfuse.objectives.supervised import targets_of
from mmfuse.tokens import Tokens
from mmfuse.unit import unit

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


def mean_token(
    modality: str, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens]
) -> tuple[Tensor, Tensor]:
    """A modality's mean tokens, zero where it is absent, and the rows that have it.

    A modality that no row has is there too, with no row present, so that every process takes
    part in every exchange, whatever its rows have.

    Shape:
        -> (B, dims[modality]), (B,) bool
    """
    if modality not in tokens:
        nothing = model.fusion.prior.new_zeros(len(batch), model.dims[modality])
        return nothing, batch.present.new_zeros(len(batch))
    present = model.present(batch)[:, model.modalities.index(modality)]
    found = tokens[modality]
    return found.pooled(), present & found.mask.any(dim=1)


def sides_of(
    modalities: Sequence[str], model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens]
) -> dict[str, Side]:
    """The modalities' sides; see ``mean_token``."""
    found = {m: mean_token(m, model, batch, tokens) for m in modalities}
    return {m: Side(unit(vectors), present) for m, (vectors, present) in found.items()}


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


def class_target(objective: str, name: str, model: FusionModel) -> None:
    """Checks that a target is of classes, one a row.

    Raises:
        ConfigError: there is no such target, or it is of another kind.
    """
    able = [t for t, s in model.spec.targets.items() if s.kind in ("binary", "multiclass")]
    if name not in able:
        raise ConfigError(
            f"{objective} reads classes from the target {name!r}; the targets of classes are "
            f"{able}."
        )


def chosen_class_target(objective: str, name: str | None, model: FusionModel) -> str:
    """The target of classes that ``name`` means: the only one there is for None.

    Raises:
        ConfigError: there is none or several and none is named, or it is of another kind.
    """
    if name is not None:
        class_target(objective, name, model)
        return name
    able = [t for t, s in model.spec.targets.items() if s.kind in ("binary", "multiclass")]
    if len(able) != 1:
        raise ConfigError(
            f"{objective} needs a target of classes; of {list(model.spec.targets)} these are: "
            f"{able}. Name one as target, or drop the objective."
        )
    return able[0]


def labels_of(batch: Batch, model: FusionModel, name: str) -> Tensor:
    """A target's class of each row, ``(B,)`` long, negative where it is unknown."""
    return targets_of(batch, model)[name].long()


class Pairwise(Objective):
    """Base of objectives on pairs of modalities, over the rows that have both.

    A subclass writes ``compare`` for one pair; the base chooses the pairs, takes the encoders'
    mean tokens to unit length and divides by the number of pairs.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        pairs: ``all``, ``ring``, ``anchor:NAME``, or a list such as ``[[image, text]]``; all
            pairs by default.
        group: a target of classes; rows of different classes of it, such as data sets, are not
            compared. Rows where it is unknown form a group together.

    Raises:
        ConfigError: at ``build``: modalities of unequal width, fewer than two, no pairs, or a
            group that is no target of classes.
        UnknownModalityError: at ``build``, an unknown name among the pairs.
    """

    #: Whether (a, b) and (b, a) are two pairs.
    is_ordered = False

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        pairs: Pairs = None,
        group: str | None = None,
    ) -> None:
        super().__init__(weight, schedule)
        self.pairs, self.group = pairs, group

    def build(self, model: FusionModel) -> None:
        """Chooses the pairs and checks that the encoders can share a space."""
        self._pairs = pairs_of(model.modalities, self.pairs, self.is_ordered)
        self._modalities = list(dict.fromkeys(m for pair in self._pairs for m in pair))
        require_one_width(type(self).__name__, self._modalities, model)
        if self.group is not None:
            class_target(type(self).__name__, self.group, model)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a pair, each divided by the number of pairs."""
        sides = sides_of(self._modalities, model, batch, tokens)
        group = None if self.group is None else labels_of(batch, model, self.group)
        losses = {}
        for a, b in self._pairs:
            both = sides[a].present & sides[b].present
            loss = self.compare(sides[a].vectors, sides[b].vectors, both, group)
            losses[f"{a}_{b}"] = loss / len(self._pairs)
        return losses

    @abstractmethod
    def compare(self, x: Tensor, y: Tensor, valid: Tensor, group: Tensor | None) -> Tensor:
        """The loss of one pair.

        Shape:
            x (B, D), y (B, D) of unit length, valid (B,) bool, the rows that have both,
            group (B,) long -> ()
        """
