"""Objectives: everything that is added to the training loss."""

from mmfuse.objectives.base import Objective
from mmfuse.objectives.supervised import StateChangePenalty, SupervisedLoss, UnimodalLoss

__all__ = ["Objective", "StateChangePenalty", "SupervisedLoss", "UnimodalLoss"]
