"""Survival analysis: curves, scores and plots of times until an event, some of them censored."""

from mmfuse.survival.curves import Steps, censoring, kaplan_meier, log_rank
from mmfuse.survival.plot import kaplan_meier_plot
from mmfuse.survival.scores import concordance, integrated_brier

__all__ = [
    "Steps",
    "censoring",
    "concordance",
    "integrated_brier",
    "kaplan_meier",
    "kaplan_meier_plot",
    "log_rank",
]
