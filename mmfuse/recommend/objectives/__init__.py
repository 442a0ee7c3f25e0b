"""Ranking objectives: what training of a recommender lowers the sum of."""

from mmfuse.recommend.objectives.anchor import AnchorAlignment
from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.bootstrap import BootstrapLoss
from mmfuse.recommend.objectives.contrast import MultimodalContrast
from mmfuse.recommend.objectives.hinge import HingeLoss
from mmfuse.recommend.objectives.in_batch import InBatchSoftmaxLoss
from mmfuse.recommend.objectives.modality import ModalityBPR
from mmfuse.recommend.objectives.orthogonality import OrthogonalityLoss
from mmfuse.recommend.objectives.pairs import BCELoss, BPRLoss, EmbeddingL2, SampledSoftmaxLoss
from mmfuse.recommend.objectives.views import PerturbedViews

__all__ = [
    "AnchorAlignment",
    "BCELoss",
    "BPRLoss",
    "BootstrapLoss",
    "EmbeddingL2",
    "HingeLoss",
    "InBatchSoftmaxLoss",
    "ModalityBPR",
    "MultimodalContrast",
    "OrthogonalityLoss",
    "PerturbedViews",
    "RankingObjective",
    "SampledSoftmaxLoss",
]
