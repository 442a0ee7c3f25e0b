"""SoftTargets: plain knowledge distillation, the student says what the teacher says."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.distillation.base import Distillation, Lesson, shared_targets
from mmfuse.distillation.soft import divergence, require_temperature
from mmfuse.distillation.team import Team
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.target_loss import weighted_mean


class SoftTargets(Distillation):
    """The student's scores approach the teacher's, softened by a temperature.

    ::

        L = T^2 mean_{rows that count} KL( softmax(t / T) || softmax(s / T) )

    averaged over targets; for several labels at once of each label, for values the mean squared
    difference. See ``mmfuse.distillation.soft.divergence``.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training.
        temperature: T.

    Raises:
        ConfigError: a temperature that is not above zero; at ``build``: no target in common, or
            one of survival.

    Reference: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015,
        arXiv:1503.02531.
    """

    def __init__(
        self, weight: float = 1.0, schedule: Schedule = "constant", temperature: float = 4.0
    ) -> None:
        super().__init__(weight, schedule)
        require_temperature(type(self).__name__, temperature)
        self.temperature = temperature

    def build(self, student: FusionModel, team: Team) -> None:
        """Finds the targets that both predict."""
        names = shared_targets(type(self).__name__, student, team)
        self._specs = {t: student.spec.targets[t] for t in names}

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """The one loss ``soft``."""
        teacher, student = lesson.teacher, lesson.student
        losses = [
            weighted_mean(
                divergence(spec, teacher.logits[t], student.logits[t], self.temperature),
                teacher.counted.to(student.logits[t].dtype),
            )
            for t, spec in self._specs.items()
        ]
        return {"soft": torch.stack(losses).mean()}
