"""Interactions: what two modalities say of a label together, apart and alike, in bits."""

from mmfuse.robustness.interactions.exact import PID, pid, pointwise

__all__ = ["PID", "pid", "pointwise"]
