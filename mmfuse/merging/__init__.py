"""Merging: several models of one architecture become one of them, without training."""

from mmfuse.merging.choice import SHARES, Choice, curve, greedy_soup
from mmfuse.merging.ingredient import Ingredient
from mmfuse.merging.merge import interpolate, slerp, uniform
from mmfuse.merging.recipes import fusing, ratatouille, with_heads
from mmfuse.merging.running import reestimate
from mmfuse.merging.scoring import ValidationScore

__all__ = [
    "SHARES",
    "Choice",
    "Ingredient",
    "ValidationScore",
    "curve",
    "fusing",
    "greedy_soup",
    "interpolate",
    "ratatouille",
    "reestimate",
    "slerp",
    "uniform",
    "with_heads",
]
