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

__all__ = [
    "Condition",
    "Importance",
    "Radii",
    "RobustnessResult",
    "RowScores",
    "complete",
    "complete_conditions",
    "evaluate",
    "item_types",
    "label_groups",
    "mean_importance",
    "mean_interactions",
    "modality_importance",
    "permutation_importance",
    "radii",
    "row_importance",
    "row_scores",
    "standard_conditions",
]
