"""Surface: the values that an attack moves, and what the model says of them once moved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self, cast

import torch
from torch import Tensor

from mmfuse.batch import Batch, RawInput
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel, Towers
from mmfuse.robustness.attacks.threat import Threat
from mmfuse.standardise import Standardise
from mmfuse.tokens import Tokens

Moves = dict[str, Tensor]


@dataclass(frozen=True)
class Part(ABC):
    """One modality under attack.

    Args:
        values: ``(B, ...)`` where the attack starts; zero in absent slots.
        free: bool, like ``values``; False where nothing may be moved: absent rows, padding,
            missing cells, codes of categories.
        mask: ``(B, T)`` the real tokens of values that come as tokens, else None.
        low: what may be added at the least, like ``values`` and never above 0; None for any.
        high: what may be added at the most.
    """

    values: Tensor
    free: Tensor
    mask: Tensor | None
    low: Tensor | None
    high: Tensor | None

    @abstractmethod
    def tokens(self, moved: Tensor) -> Tokens:
        """What the fusion reads once the values are ``moved``, absent rows blank."""

    def rows(self, index: Tensor) -> Self:
        """The rows that ``index`` (long) selects, repeated as it repeats them."""
        return replace(
            self,
            values=self.values[index],
            free=self.free[index],
            mask=None if self.mask is None else self.mask[index],
            low=None if self.low is None else self.low[index],
            high=None if self.high is None else self.high[index],
        )


@dataclass(frozen=True)
class TokenPart(Part):
    """Tokens that are moved after their encoder."""

    def tokens(self, moved: Tensor) -> Tokens:
        """Themselves."""
        assert self.mask is not None
        return Tokens(moved, self.mask)


@dataclass(frozen=True)
class InputPart(Part):
    """Inputs that are moved before their encoder.

    Args:
        present: ``(B,)`` bool, the rows that the encoder sees.
        encoder: it is called directly, as a model records no gradient through a frozen one.
    """

    present: Tensor
    encoder: Encoder

    def tokens(self, moved: Tensor) -> Tokens:
        """Encodes the rows that have the modality."""
        rows = self.present.nonzero().squeeze(1)
        x: RawInput = moved[rows] if self.mask is None else Tokens(moved[rows], self.mask[rows])
        return Tokens.of(self.encoder(x)).scatter(rows, len(self.present))

    def rows(self, index: Tensor) -> Self:
        """The rows that ``index`` selects."""
        return replace(super().rows(index), present=self.present[index])


class Movable(Protocol):
    """Rows some of whose modalities are moved."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """The modalities that are moved and that some row has."""

    @property
    def index(self) -> Tensor:
        """``(B,)`` row numbers in the data set."""


@dataclass(frozen=True)
class PartsAlone:
    """Parts of a model without a fusion; fields as in ``Movable``."""

    parts: Mapping[str, Part]
    index: Tensor


@dataclass(frozen=True)
class Surface:
    """A model's scores of some rows as a function of what is added to some of their modalities.

    Args:
        model: in eval mode.
        target: whose classes the scores are of.
        present: ``(B, M)`` bool in fusion order.
        parts: the modalities that are moved and that some row has.
        fixed: the others' tokens, encoded once.
        index: ``(B,)`` row numbers in the data set.
    """

    model: FusionModel
    target: str
    present: Tensor
    parts: Mapping[str, Part]
    fixed: Mapping[str, Tokens]
    index: Tensor

    def __len__(self) -> int:
        return len(self.present)

    def scores(self, moves: Mapping[str, Tensor]) -> Tensor:
        """Class scores, ``(B, K)``, once ``moves`` (each like its part's values) are added."""
        tokens = dict(self.fixed)
        for m, part in self.parts.items():
            tokens[m] = part.tokens(part.values + moves[m])
            require_gradient(self.model, m, moves[m], tokens[m])
        output = self.model.read(self.model.fuse(tokens, self.present), self.present)
        return self.model.spec.targets[self.target].class_scores(output.logits[self.target])

    def rows(self, index: Tensor) -> Surface:
        """The rows that ``index`` (long) selects, repeated as it repeats them."""
        return replace(
            self,
            present=self.present[index],
            parts={m: p.rows(index) for m, p in self.parts.items()},
            fixed={m: t.rows(index) for m, t in self.fixed.items()},
            index=self.index[index],
        )

    @property
    def numbers(self) -> int:
        """How many numbers of one row the model reads."""
        moved = sum(p.values[:1].numel() for p in self.parts.values())
        return moved + sum(t.values[:1].numel() for t in self.fixed.values())


def surface_of(model: FusionModel, batch: Batch, threat: Threat, target: str) -> Surface:
    """The surface that ``threat`` may move of a batch; the model must be in eval mode.

    Raises:
        ConfigError: an input of whole numbers, such as a text's, which cannot be moved.
        UnknownModalityError: a modality that the model lacks.
    """
    threat.check(model.modalities)
    present = model.present(batch)
    here = [m for m in threat.modalities if m in batch.inputs and len(batch.present_rows[m])]
    with torch.no_grad():
        if threat.on == "tokens":
            fixed = model.encode(batch)
            column = {m: present[:, model.modalities.index(m)] for m in here}
            parts = {m: _token_part(fixed.pop(m).keep(column[m])) for m in here}
            return Surface(model, target, present, parts, fixed, batch.index)
        others = {m: x for m, x in batch.inputs.items() if m not in here}
        fixed = model.encode(replace(batch, inputs=others))
        moved = {m: input_part(model, m, batch, present, threat) for m in here}
    return Surface(model, target, present, moved, fixed, batch.index)


def require_gradient(model: Towers, modality: str, moves: Tensor, tokens: Tokens) -> None:
    """Refuses an encoder that does not say how its result follows from what was moved.

    Raises:
        ConfigError: naming it.
    """
    if moves.requires_grad and not tokens.values.requires_grad:
        encoder = type(model.encoders[modality]).__name__
        raise ConfigError(
            f"Modality {modality!r}: {encoder} passes no gradient on to its input, so that no "
            "attack can follow it. Attack its tokens (on='tokens'), or other modalities."
        )


def _token_part(tokens: Tokens) -> Part:
    free = tokens.mask.unsqueeze(-1).expand_as(tokens.values)
    return TokenPart(tokens.values, free, tokens.mask, None, None)


def input_part(
    model: Towers, modality: str, batch: Batch, present: Tensor, threat: Threat
) -> InputPart:
    """The input of one modality as an attack may move it; ``present`` (B, M) in model order.

    Raises:
        ConfigError: an input of whole numbers, which cannot be moved.
    """
    raw = batch.inputs[modality]
    values, mask = (raw.values, raw.mask) if isinstance(raw, Tokens) else (raw, None)
    if not values.is_floating_point():
        raise ConfigError(
            f"Modality {modality!r}: its input is {values.dtype}, whose numbers are names and "
            "cannot be moved a little. Attack its tokens (on='tokens'), or other modalities."
        )
    there = present[:, model.modalities.index(modality)]
    values = values.masked_fill(~_like(there, values), 0)
    if modality in model.standardise:
        standardise = cast(Standardise, model.standardise[modality])
        values = cast(Tensor, standardise(values)).masked_fill(~_like(there, values), 0)
    free = _like(there, values) & values.isfinite()
    if mask is not None:
        free = free & _like(mask, values)
    codes = len(model.spec.modalities[modality].categories)
    if codes:
        free[..., -codes:] = False
    low, high = _room(model, modality, values, threat)
    encoder = cast(Encoder, model.encoders[modality])
    return InputPart(values, free, mask, low, high, there, encoder)


def _room(
    model: Towers, modality: str, values: Tensor, threat: Threat
) -> tuple[Tensor | None, Tensor | None]:
    """What may be added before a value leaves the valid range."""
    if modality not in threat.valid:
        return None, None
    low, high = (values.new_tensor(end) for end in threat.valid[modality])
    if modality in model.standardise:
        standardise = cast(Standardise, model.standardise[modality])
        low, high = ((end - standardise.mean) * standardise.scale for end in (low, high))
    return (low - values).clamp(max=0), (high - values).clamp(min=0)


def in_raw_units(model: Towers, modality: str, moves: Tensor) -> Tensor:
    """What was added to an input as the encoder reads it, in units of the raw input."""
    if modality not in model.standardise:
        return moves
    return moves / cast(Standardise, model.standardise[modality]).scale


def _like(rows: Tensor, values: Tensor) -> Tensor:
    """``(B, ...)`` bool spread over the last axes of ``values``."""
    return rows.view(*rows.shape, *[1] * (values.dim() - rows.dim())).expand_as(values)
