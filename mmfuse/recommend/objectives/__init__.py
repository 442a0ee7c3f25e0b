"""Ranking objectives: what training of a recommender lowers the sum of."""

from mmfuse.recommend.objectives.base import RankingObjective
from mmfuse.recommend.objectives.bootstrap import BootstrapLoss
from mmfuse.recommend.objectives.modality import ModalityBPR
from mmfuse.recommend.objectives.pairs import BCELoss, BPRLoss, EmbeddingL2, SampledSoftmaxLoss

__all__ = [
    "BCELoss",
    "BPRLoss",
    "BootstrapLoss",
    "EmbeddingL2",
    "ModalityBPR",
    "RankingObjective",
    "SampledSoftmaxLoss",
]
