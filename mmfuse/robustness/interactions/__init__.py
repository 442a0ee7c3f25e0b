"""Interactions: what two modalities say of a label together, apart and alike, in bits."""

from mmfuse.robustness.interactions.bounds import SynergyBounds, synergy_bounds
from mmfuse.robustness.interactions.discrete import DiscretisedPID, cluster_sweep, discretised_pid
from mmfuse.robustness.interactions.exact import PID, pid, pointwise

__all__ = [
    "PID",
    "DiscretisedPID",
    "SynergyBounds",
    "cluster_sweep",
    "discretised_pid",
    "pid",
    "pointwise",
    "synergy_bounds",
]
