"""The objective contract: a model's view of a batch -> named losses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output

Schedule = Literal["constant", "linear_up", "linear_down"] | Sequence[float]


class Term(nn.Module, Recorded, ABC):
    """Base of everything that is added to the training loss, of whatever task.

    Args:
        weight: factor of this objective in the sum.
        schedule: how the factor moves over training progress from 0 to 1: ``constant``,
            ``linear_up`` (from 0 to ``weight``), ``linear_down`` (from ``weight`` to 0), or a
            phase ``[start, stop]``: ``weight`` from start to stop, 0 before and after.

    Raises:
        ConfigError: an unknown schedule, a phase that is none, or a weight below zero or
            without bound.
    """

    def __init__(self, weight: float = 1.0, schedule: Schedule = "constant") -> None:
        super().__init__()
        _check(schedule)
        if not 0 <= weight < math.inf:
            raise ConfigError(f"weight is {weight}; expected a finite number of 0 or more.")
        self.weight, self.schedule = weight, schedule

    def factor(self, progress: float) -> float:
        """The weight at training progress between 0 and 1."""
        if not isinstance(self.schedule, str):
            start, stop = self.schedule
            return self.weight if start <= progress < stop or progress == stop == 1 else 0.0
        scale = {"constant": 1.0, "linear_up": progress, "linear_down": 1.0 - progress}
        return self.weight * scale[self.schedule]


class Objective(Term):
    """Base of the terms that look at a batch of rows through a FusionModel.

    Objectives add up and work with any fusion. One that needs parameters of its own makes
    them in ``build``, when the model is known.

    Args:
        weight: factor of this objective in the sum.
        schedule: how the factor moves over training progress; see ``Term``.
    """

    def __init__(self, weight: float = 1.0, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, model: FusionModel) -> None:
        """Makes what the objective needs for this model; called once, before training.

        Raises:
            ConfigError: the model cannot serve the objective.
        """

    @abstractmethod
    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """Named scalar losses, before weighting."""


def _check(schedule: Schedule) -> None:
    if isinstance(schedule, str):
        if schedule not in ("constant", "linear_up", "linear_down"):
            raise ConfigError(
                f"schedule is {schedule!r}; expected 'constant', 'linear_up', 'linear_down', or a "
                "phase such as [0, 0.33]."
            )
        return
    if len(schedule) != 2 or not 0 <= schedule[0] < schedule[1] <= 1:
        raise ConfigError(
            f"schedule is {list(schedule)}; expected a phase [start, stop] in fractions of the "
            "training, with 0 <= start < stop <= 1."
        )
