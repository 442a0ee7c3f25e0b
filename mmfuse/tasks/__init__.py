"""Tasks: the LightningModules that train a FusionModel."""

from mmfuse.tasks.build import build_model
from mmfuse.tasks.supervised import SupervisedTask

__all__ = ["SupervisedTask", "build_model"]
