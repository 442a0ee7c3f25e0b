"""Interactions: what two modalities say of a label together, apart and alike, in bits."""

from mmfuse.robustness.interactions.bounds import SynergyBounds, synergy_bounds
from mmfuse.robustness.interactions.discrete import DiscretisedPID, cluster_sweep, discretised_pid
from mmfuse.robustness.interactions.exact import PID, pid, pointwise
from mmfuse.robustness.interactions.neural import (
    NeuralPID,
    NeuralSettings,
    held_out_pid,
    neural_pid,
)
from mmfuse.robustness.interactions.planted import planted

__all__ = [
    "PID",
    "DiscretisedPID",
    "NeuralPID",
    "NeuralSettings",
    "SynergyBounds",
    "cluster_sweep",
    "discretised_pid",
    "held_out_pid",
    "neural_pid",
    "pid",
    "planted",
    "pointwise",
    "synergy_bounds",
]
