"""Objectives: everything that is added to the training loss."""

from mmfuse.objectives.a2d import A2D
from mmfuse.objectives.adversarial import AdversarialLoss
from mmfuse.objectives.base import Objective
from mmfuse.objectives.change_alignment import ChangeAlignmentLoss
from mmfuse.objectives.clip import CLIPLoss
from mmfuse.objectives.crmt import CRMTMargin
from mmfuse.objectives.crmt_mix import CRMTMixMargin
from mmfuse.objectives.cyclip import CyCLIPLoss
from mmfuse.objectives.goal_alignment import GoalAlignmentLoss
from mmfuse.objectives.imputation import ImputationLoss
from mmfuse.objectives.m3col import M3CoLoss, MultiSClipLoss
from mmfuse.objectives.masked_modality import MaskedModalityLoss
from mmfuse.objectives.np_mix import NPMix
from mmfuse.objectives.prototypes import PrototypeDistillation, PrototypeLoss
from mmfuse.objectives.siglip import SigLIPLoss
from mmfuse.objectives.subset_language import SubsetLanguageLoss
from mmfuse.objectives.supcon import SupConLoss
from mmfuse.objectives.supervised import StateChangePenalty, SupervisedLoss, UnimodalLoss

__all__ = [
    "A2D",
    "AdversarialLoss",
    "CLIPLoss",
    "CRMTMargin",
    "CRMTMixMargin",
    "ChangeAlignmentLoss",
    "CyCLIPLoss",
    "GoalAlignmentLoss",
    "ImputationLoss",
    "M3CoLoss",
    "MaskedModalityLoss",
    "MultiSClipLoss",
    "NPMix",
    "Objective",
    "PrototypeDistillation",
    "PrototypeLoss",
    "SigLIPLoss",
    "StateChangePenalty",
    "SubsetLanguageLoss",
    "SupConLoss",
    "SupervisedLoss",
    "UnimodalLoss",
]
