"""Baselines: scikit-learn's classical models beside every fusion, on the same rows."""

from mmfuse.baselines.evaluate import baseline_scores, modality_scores
from mmfuse.baselines.features import Features, readable
from mmfuse.baselines.leak import mask_leak, mask_leaks
from mmfuse.baselines.mask_models import MASK_MODELS, PATTERNS
from mmfuse.baselines.models import BASELINES, BOOSTING, LINEAR, fit_baseline

__all__ = [
    "BASELINES",
    "BOOSTING",
    "LINEAR",
    "MASK_MODELS",
    "PATTERNS",
    "Features",
    "baseline_scores",
    "fit_baseline",
    "mask_leak",
    "mask_leaks",
    "modality_scores",
    "readable",
]
