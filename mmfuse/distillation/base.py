"""The contract of distillation: what student and teachers say of a batch -> named losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mmfuse.distillation.said import Said
from mmfuse.distillation.soft import require_soft
from mmfuse.distillation.team import Team
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Schedule, Term


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a term of distillation compares.

    Args:
        student: what it says, with its gradient.
        teacher: what the multimodal teacher says as it is.
        pool: what each teacher to choose from says, as ``Team.pool`` names them.
    """

    student: Said
    teacher: Said
    pool: Sequence[Said]

    def vectors(self, student: str, teacher: str) -> tuple[Tensor, Tensor, Tensor] | None:
        """A vector of each, and ``(B,)`` bool of the rows that count and have both.

        None where a whole batch lacks one.
        """
        ours, theirs = self.student.vectors.get(student), self.teacher.vectors.get(teacher)
        if ours is None or theirs is None:
            return None
        seen = self.student.seen[student] & self.teacher.seen[teacher]
        return ours, theirs, self.teacher.counted & seen


class Distillation(Term):
    """Base of the terms by which a student learns from teachers that are frozen.

    A row counts where a teacher can tell something: where both see a modality of it, and not the
    same ones. Others train by the task's loss alone.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training progress; see ``Term``.
    """

    def __init__(self, weight: float = 1.0, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, student: FusionModel, team: Team) -> None:
        """Makes what the term needs for this student; called once, before training.

        Raises:
            ConfigError: student or teachers cannot serve it.
        """

    @abstractmethod
    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """Named scalar losses, before weighting."""


def shared_targets(who: str, student: FusionModel, team: Team) -> list[str]:
    """The student's targets of which the teacher can tell.

    Raises:
        ConfigError: there is none, or one of survival.
    """
    found = [t for t in student.spec.targets if t in team.teacher.spec.targets]
    if not found:
        raise ConfigError(
            f"{who}: the student predicts {list(student.spec.targets)}, the teacher "
            f"{list(team.teacher.spec.targets)}. Take a teacher of the same target."
        )
    for name in found:
        require_soft(who, name, student.spec.targets[name])
    return found
