"""Robustness: what a model does when modalities are absent, and which of them it needs."""

from mmfuse.robustness.result import RobustnessResult

__all__ = ["RobustnessResult"]
