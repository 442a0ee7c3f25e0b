"""Distillation: a student of few modalities learns from teachers of more."""

from mmfuse.distillation.base import Distillation, Lesson
from mmfuse.distillation.features import FeatureDistillation
from mmfuse.distillation.masks import Mask
from mmfuse.distillation.relations import RelationalDistillation
from mmfuse.distillation.routed import (
    HardRoutedDistillation,
    RoutedDistillation,
    WeightedRoutedDistillation,
)
from mmfuse.distillation.said import Said
from mmfuse.distillation.soft_targets import SoftTargets
from mmfuse.distillation.team import Team

__all__ = [
    "Distillation",
    "FeatureDistillation",
    "HardRoutedDistillation",
    "Lesson",
    "Mask",
    "RelationalDistillation",
    "RoutedDistillation",
    "Said",
    "SoftTargets",
    "Team",
    "WeightedRoutedDistillation",
]
