"""FeatureDistillation: a vector of the student approaches one of the teacher (FitNets' hints)."""

from __future__ import annotations

from torch import Tensor, nn

from mmfuse.distillation.base import Distillation, Lesson
from mmfuse.distillation.said import FUSED, require_vector, widths_of
from mmfuse.distillation.team import Team
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.target_loss import weighted_mean


class FeatureDistillation(Distillation):
    """A linear map of a student's vector approaches a vector of the teacher.

    ::

        L = 1/2 mean_{rows that count} mean_units ( W v_student + b - v_teacher )^2

    The map is trained with the student and is no part of it.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training.
        student: the student's vector: a modality's name for what its encoder gives, or ``fused``.
        teacher: the teacher's, likewise.

    Raises:
        ConfigError: at ``build``, a vector that the model has not.

    Reference: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv:1412.6550.

    Departs from the paper: the hint is learned beside the task, not in a stage before it.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        student: str = FUSED,
        teacher: str = FUSED,
    ) -> None:
        super().__init__(weight, schedule)
        self.student, self.teacher = student, teacher

    def build(self, student: FusionModel, team: Team) -> None:
        """Makes the map."""
        who = type(self).__name__
        require_vector(who, self.student, "student", student)
        require_vector(who, self.teacher, "teacher", team.teacher)
        self.regressor = nn.Linear(
            widths_of(student)[self.student], widths_of(team.teacher)[self.teacher]
        )

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """The one loss ``hint``; zero where no row of the batch has the vectors."""
        found = lesson.vectors(self.student, self.teacher)
        if found is None:
            return {"hint": self.regressor.weight.new_zeros(())}
        ours, theirs, counted = found
        apart = (self.regressor(ours) - theirs).square().mean(dim=-1) / 2
        return {"hint": weighted_mean(apart, counted.to(apart.dtype))}
