"""Out of distribution: scores of rows that a model should not trust itself on, and their worth.

Every score is higher for rows that are more out of distribution, and is fitted on training rows.
"""

from mmfuse.robustness.ood.base import OODScore, Reading, ReadingScore
from mmfuse.robustness.ood.evaluate import evaluate_ood
from mmfuse.robustness.ood.from_features import KNN, Mahalanobis
from mmfuse.robustness.ood.from_logits import GEN, MSP, Energy, MaxLogit
from mmfuse.robustness.ood.head import class_head
from mmfuse.robustness.ood.metrics import ood_intervals, ood_metrics
from mmfuse.robustness.ood.odin import ODIN
from mmfuse.robustness.ood.product import ProductEnergy
from mmfuse.robustness.ood.result import OODResult
from mmfuse.robustness.ood.shaping import ASH, ReAct
from mmfuse.robustness.ood.standard import standard_scores
from mmfuse.robustness.ood.trained_heads import unimodal_heads
from mmfuse.robustness.ood.unimodal import UnimodalDisagreement
from mmfuse.robustness.ood.vim import ViM

__all__ = [
    "ASH",
    "GEN",
    "KNN",
    "MSP",
    "ODIN",
    "Energy",
    "Mahalanobis",
    "MaxLogit",
    "OODResult",
    "OODScore",
    "ProductEnergy",
    "ReAct",
    "Reading",
    "ReadingScore",
    "UnimodalDisagreement",
    "ViM",
    "class_head",
    "evaluate_ood",
    "ood_intervals",
    "ood_metrics",
    "standard_scores",
    "unimodal_heads",
]
