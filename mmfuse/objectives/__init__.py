"""Objectives: everything that is added to the training loss."""

from mmfuse.objectives.base import Objective
from mmfuse.objectives.clip import CLIPLoss
from mmfuse.objectives.m3col import M3CoLoss, MultiSClipLoss
from mmfuse.objectives.supervised import StateChangePenalty, SupervisedLoss, UnimodalLoss

__all__ = [
    "CLIPLoss",
    "M3CoLoss",
    "MultiSClipLoss",
    "Objective",
    "StateChangePenalty",
    "SupervisedLoss",
    "UnimodalLoss",
]
