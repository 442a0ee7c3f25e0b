"""The contrastive core: losses between two sides of a batch, in memory linear in its rows."""

from mmfuse.objectives.contrastive.cyclic import cyclic_consistency
from mmfuse.objectives.contrastive.gather import Peers
from mmfuse.objectives.contrastive.nce import info_nce
from mmfuse.objectives.contrastive.pairs import Pairs, pairs_of
from mmfuse.objectives.contrastive.partition import log_partition
from mmfuse.objectives.contrastive.positives import multi_positive
from mmfuse.objectives.contrastive.sigmoid import sigmoid_loss
from mmfuse.objectives.contrastive.targets import SimilarTargets, SparseTargets, Targets
from mmfuse.objectives.contrastive.temperature import Temperature
from mmfuse.unit import unit

__all__ = [
    "Pairs",
    "Peers",
    "SimilarTargets",
    "SparseTargets",
    "Targets",
    "Temperature",
    "cyclic_consistency",
    "info_nce",
    "log_partition",
    "multi_positive",
    "pairs_of",
    "sigmoid_loss",
    "unit",
]
