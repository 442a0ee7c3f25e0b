"""The corruption contract: raw values of some rows and a severity -> the values, corrupted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured
from mmfuse.spec import Kind, ModalitySpec

#: How hard a corruption may strike; 0 leaves everything as it is.
SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(Recorded, ABC):
    """Base of all corruptions: a function of the value, the severity, the seed and the row alone.

    It takes what an encoder's ``preprocess`` takes: a tensor or Tokens for arrays, a list of
    strings, pictures, sounds or videos. What it is given is never written to. Severity 0 gives
    back the same object. The bases for each kind of input hold the mechanism; a subclass of them
    states its ``defaults`` and writes what happens to one value.

    Args:
        levels: what the severities 1 to 5 mean, in the class's own unit; None for its defaults.

    Raises:
        ConfigError: not five levels, outside the class's range, or not from mild to strong.
    """

    #: Kinds of input that it takes.
    kinds: ClassVar[frozenset[Kind]]
    #: The levels of the severities 1 to 5.
    defaults: ClassVar[tuple[float, ...]]
    #: What a level is, in words.
    unit: ClassVar[str]
    #: The least and the greatest level that has a meaning.
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, levels: Sequence[float] | None = None) -> None:
        self.levels = tuple(map(float, self.defaults if levels is None else levels))
        rising = np.diff(self.levels) * np.sign(self.defaults[-1] - self.defaults[0])
        low, high = self.limits
        in_range = all(low <= v <= high for v in self.levels)
        if len(self.levels) != len(SEVERITIES) or not in_range or not (rising > 0).all():
            raise ConfigError(
                f"{self.name}: levels are {list(self.levels)}; expected five, each further than "
                f"the last from mild to strong, between {low:g} and {high:g} ({self.unit}), such "
                f"as {list(self.defaults)}."
            )

    @property
    def name(self) -> str:
        """What tables call it."""
        return type(self).__name__

    def unfit(self, spec: ModalitySpec) -> str | None:
        """Why it cannot corrupt such a modality, None if it can."""
        if spec.kind in self.kinds:
            return None
        return f"takes {' or '.join(sorted(self.kinds))}, the modality is {spec.kind}"

    def check(self, modality: str, spec: ModalitySpec) -> None:
        """Refuses a modality that it cannot corrupt.

        Raises:
            ConfigError: naming both.
        """
        if reason := self.unfit(spec):
            raise ConfigError(
                f"Modality {modality!r}: {self.name} {reason}. Choose another corruption: "
                "mmfuse list corruptions."
            )

    def __call__(
        self,
        raw: Any,
        severity: int,
        draws: Draws | None = None,
        measured: Measured | None = None,
    ) -> Any:
        """The corrupted values of rows that all have the modality.

        Args:
            raw: as an encoder's ``preprocess`` takes it.
            severity: 0 to 5; 0 gives ``raw`` itself.
            draws: the rows' random numbers; None for rows 0, 1, ... and seed 0.
            measured: what is known of the modality; arrays need it.

        Raises:
            ConfigError: no such severity, or arrays of which nothing is known.
        """
        if severity not in (0, *SEVERITIES):
            raise ConfigError(f"{self.name}: severity is {severity!r}; expected 0 to 5.")
        if severity == 0:
            return raw
        draws = Draws(torch.arange(len(raw))) if draws is None else draws
        level = self.levels[severity - 1]
        return self.corrupt(raw, level, draws.meant_for(self.name), measured)

    def known(self, measured: Measured | None) -> Measured:
        """What is known of a modality of arrays.

        Raises:
            ConfigError: nothing.
        """
        if measured is None:
            raise ConfigError(
                f"{self.name} corrupts arrays by how large they are in training, which is not "
                "known. Give measured=measure(data)[modality]."
            )
        return measured

    @abstractmethod
    def corrupt(self, raw: Any, level: float, draws: Draws, measured: Measured | None) -> Any:
        """What ``__call__`` does at a level."""
