"""What adversarial training moves: a batch's tokens or inputs, and what the model says then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.standardise import Standardise
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.encoder import Encoder
    from mmfuse.model import FusionModel, Output

Moves = dict[str, Tensor]


class Movable(ABC):
    """A batch some of whose numbers may be moved."""

    @abstractmethod
    def still(self) -> Moves:
        """Nothing added, shaped like what may be moved; empty where nothing can be."""

    @abstractmethod
    def output(self, moves: Mapping[str, Tensor]) -> Output:
        """What the model says once ``moves`` are added where a row has the modality."""

    @abstractmethod
    def searched(self) -> Movable:
        """The same for a search, which needs no gradient but that of the moves."""


@dataclass(frozen=True)
class MovableTokens(Movable):
    """Tokens, after their encoders.

    Args:
        model: its fusion and heads read them.
        tokens: blank in absent slots.
        present: ``(B, M)`` bool in fusion order.
    """

    model: FusionModel
    tokens: Mapping[str, Tokens]
    present: Tensor

    def still(self) -> Moves:
        """Zeros like the tokens."""
        return {m: torch.zeros_like(t.values) for m, t in self.tokens.items()}

    def output(self, moves: Mapping[str, Tensor]) -> Output:
        """Fuses and reads the moved tokens."""
        moved = {m: replace(t, values=t.values + moves[m]) for m, t in self.tokens.items()}
        return self.model.read(self.model.fuse(moved, self.present), self.present)

    def searched(self) -> MovableTokens:
        """Tokens cut off from their encoders."""
        fixed = {m: replace(t, values=t.values.detach()) for m, t in self.tokens.items()}
        return replace(self, tokens=fixed)


@dataclass(frozen=True)
class MovableInputs(Movable):
    """Inputs, as the encoders read them: in training deviations where they are standardised.

    Texts, codes of categories, and inputs of frozen encoders stay as they are.

    Args:
        model: encodes, fuses and reads them.
        batch: the rows.
        movable: the modalities to move.
    """

    model: FusionModel
    batch: Batch
    movable: frozenset[str]

    def still(self) -> Moves:
        """Zeros like the inputs that some row has, where they are numbers with a point."""
        here = [m for m in self.model.modalities if m in self.movable and m in self.batch.inputs]
        here = [m for m in here if len(self.batch.present_rows[m])]
        values = {m: self._values(m) for m in here}
        return {m: torch.zeros_like(v) for m, v in values.items() if v.is_floating_point()}

    def output(self, moves: Mapping[str, Tensor]) -> Output:
        """Runs the model on the moved inputs."""
        inputs = dict(self.batch.inputs)
        for m, move in moves.items():
            raw, values = inputs[m], self._values(m) + self._raw(m, move)
            inputs[m] = replace(raw, values=values) if isinstance(raw, Tokens) else values
        return self.model(replace(self.batch, inputs=inputs))

    def searched(self) -> MovableInputs:
        """Itself: the way to an input leads through its encoder."""
        return self

    def _values(self, modality: str) -> Tensor:
        raw = self.batch.inputs[modality]
        return raw.values if isinstance(raw, Tokens) else raw

    def _raw(self, modality: str, move: Tensor) -> Tensor:
        codes = len(self.model.spec.modalities[modality].categories)
        if codes:
            move = torch.cat([move[..., :-codes], torch.zeros_like(move[..., -codes:])], dim=-1)
        if modality not in self.model.standardise:
            return move
        return move / cast(Standardise, self.model.standardise[modality]).scale


def movable_inputs(model: FusionModel) -> frozenset[str]:
    """The modalities whose inputs are numbers which an encoder that learns reads.

    Raises:
        ConfigError: none is.
    """
    found = frozenset(
        m
        for m, spec in model.spec.modalities.items()
        if spec.kind != "text" and not cast("Encoder", model.encoders[m]).frozen
    )
    if not found:
        raise ConfigError(
            f"No input of {list(model.modalities)} can be moved: texts are no numbers, and frozen "
            "encoders pass no gradient on. Take on='tokens'."
        )
    return found
