"""RelationalDistillation: rows lie to each other in the student as they do in the teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.distillation.base import Distillation, Lesson
from mmfuse.distillation.said import FUSED, require_vector
from mmfuse.distillation.team import Team
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Schedule


class RelationalDistillation(Distillation):
    """Distances of pairs and angles of triples of rows are those of the teacher.

    With v the vectors of the rows of a batch that count, and H the Huber loss::

        d_ij  = |v_i - v_j| / mean_{pairs} |v_i - v_j|
        a_ijk = cos( v_i - v_j, v_k - v_j )
        L = distance * mean_{i != j} H(d_ij student - d_ij teacher)
          +    angle * mean_{i, j, k all unlike} H(a_ijk student - a_ijk teacher)

    so that widths may differ and no map is needed. Angles take memory with the third power of the
    rows of a batch: a batch of 64 is 262,144 of them.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training.
        distance: factor of the distances.
        angle: factor of the angles; 0 leaves them out.
        student: the student's vector: a modality's name for what its encoder gives, or ``fused``.
        teacher: the teacher's, likewise.

    Raises:
        ConfigError: a factor below zero or without bound; at ``build``, a vector that the model
            has not.

    Reference: Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068.

    Departs from the authors' code: the mean is over pairs and triples of different rows, where
    theirs counts a row with itself, which agrees always.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        distance: float = 25.0,
        angle: float = 50.0,
        student: str = FUSED,
        teacher: str = FUSED,
    ) -> None:
        super().__init__(weight, schedule)
        factors = {"distance": distance, "angle": angle}
        if wrong := {n: f for n, f in factors.items() if not 0 <= f < float("inf")}:
            raise ConfigError(
                f"{type(self).__name__}: {wrong}; expected finite numbers of 0 or more."
            )
        self.distance, self.angle = distance, angle
        self.student, self.teacher = student, teacher

    def build(self, student: FusionModel, team: Team) -> None:
        """Checks that the vectors are there."""
        require_vector(type(self).__name__, self.student, "student", student)
        require_vector(type(self).__name__, self.teacher, "teacher", team.teacher)

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """``distance`` and ``angle``; zero where too few rows of the batch count."""
        found = lesson.vectors(self.student, self.teacher)
        if found is None:
            zero = lesson.student.vectors[FUSED].new_zeros(())
            return {n: zero for n in ("distance", "angle") if getattr(self, n)}
        ours, theirs, counted = found
        rows = counted.nonzero().squeeze(1)
        ours, theirs = ours[rows], theirs[rows]
        losses = {}
        if self.distance:
            apart = F.huber_loss(distances(ours), distances(theirs), reduction="none")
            unlike = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
            losses["distance"] = self.distance * _mean(apart, unlike)
        if self.angle:
            apart = F.huber_loss(angles(ours), angles(theirs), reduction="none")
            losses["angle"] = self.angle * _mean(apart, _all_unlike(len(rows), rows.device))
        return losses


def distances(vectors: Tensor) -> Tensor:
    """Distances of all pairs over their mean; zero on the diagonal, as is the gradient there.

    Shape:
        (n, D) -> (n, n)
    """
    squared = (vectors.unsqueeze(1) - vectors.unsqueeze(0)).square().sum(dim=-1)
    apart = squared > 0
    # The root's slope at zero is infinite: rows that coincide get none.
    found = torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)
    count = max(len(vectors) * (len(vectors) - 1), 1)
    mean = found.sum() / count
    return found / torch.where(mean > 0, mean, 1)


def angles(vectors: Tensor) -> Tensor:
    """The cosine at row j between rows i and k, as ``[j, i, k]``; 0 where rows coincide.

    Shape:
        (n, D) -> (n, n, n)
    """
    apart = vectors.unsqueeze(0) - vectors.unsqueeze(1)
    directions = F.normalize(apart, dim=-1)
    return torch.bmm(directions, directions.transpose(1, 2))


def _all_unlike(count: int, device: torch.device) -> Tensor:
    unlike = ~torch.eye(count, dtype=torch.bool, device=device)
    return unlike.unsqueeze(2) & unlike.unsqueeze(1) & unlike.unsqueeze(0)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return values.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)
