"""Tasks: the LightningModules that train a FusionModel."""

from mmfuse.tasks.alignment import AlignmentTask, SpaceHead
from mmfuse.tasks.base import FusionTask
from mmfuse.tasks.build import build_model
from mmfuse.tasks.co_training import CoTrainingTask, Peer
from mmfuse.tasks.crmt_weights import CRMTWeightsTask
from mmfuse.tasks.distillation import DistillationTask
from mmfuse.tasks.gpvae import GPVAETask
from mmfuse.tasks.recommendation import RecommendationTask
from mmfuse.tasks.specialisation import SpecialisationTask
from mmfuse.tasks.supervised import SupervisedTask

__all__ = [
    "AlignmentTask",
    "CRMTWeightsTask",
    "CoTrainingTask",
    "DistillationTask",
    "FusionTask",
    "GPVAETask",
    "Peer",
    "RecommendationTask",
    "SpaceHead",
    "SpecialisationTask",
    "SupervisedTask",
    "build_model",
]
