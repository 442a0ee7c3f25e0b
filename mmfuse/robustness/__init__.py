"""Robustness: what a model does when modalities are absent, and which of them it needs."""

from mmfuse.robustness.complete_conditions import complete_conditions
from mmfuse.robustness.conditions import (
    Condition,
    complete,
    label_groups,
    standard_conditions,
)
from mmfuse.robustness.evaluate import evaluate
from mmfuse.robustness.importance import Importance, modality_importance
from mmfuse.robustness.matrix import AbsenceMatrix, absence_matrix
from mmfuse.robustness.permutation import permutation_importance
from mmfuse.robustness.radius import Radii, radii
from mmfuse.robustness.result import RobustnessResult
from mmfuse.robustness.row_importance import (
    item_types,
    mean_importance,
    mean_interactions,
    row_importance,
)
from mmfuse.robustness.row_scores import RowScores, row_scores
from mmfuse.robustness.training import models_by_training

__all__ = [
    "AbsenceMatrix",
    "Condition",
    "Importance",
    "Radii",
    "RobustnessResult",
    "RowScores",
    "absence_matrix",
    "complete",
    "complete_conditions",
    "evaluate",
    "item_types",
    "label_groups",
    "mean_importance",
    "mean_interactions",
    "modality_importance",
    "models_by_training",
    "permutation_importance",
    "radii",
    "row_importance",
    "row_scores",
    "standard_conditions",
]
