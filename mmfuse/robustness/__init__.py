"""Robustness: what a model does when modalities are absent, and which of them it needs."""

from mmfuse.robustness.conditions import (
    Condition,
    complete,
    label_groups,
    standard_conditions,
)
from mmfuse.robustness.evaluate import evaluate
from mmfuse.robustness.importance import Importance, modality_importance
from mmfuse.robustness.result import RobustnessResult

__all__ = [
    "Condition",
    "Importance",
    "RobustnessResult",
    "complete",
    "evaluate",
    "label_groups",
    "modality_importance",
    "standard_conditions",
]
