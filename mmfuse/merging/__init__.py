"""Merging: several models become one, without training.

Models of one architecture meet in their weights; blocks of different modalities stand side by side.
"""

from mmfuse.merging.blocks import merge_blocks, start_alike
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
    "merge_blocks",
    "ratatouille",
    "reestimate",
    "slerp",
    "start_alike",
    "uniform",
    "with_heads",
]
