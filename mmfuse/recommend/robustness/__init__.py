"""Robustness of recommenders: how well they rank when items lose modalities."""

from mmfuse.recommend.robustness.conditions import item_conditions
from mmfuse.recommend.robustness.encoded import EncodedItems
from mmfuse.recommend.robustness.evaluate import ranking_robustness
from mmfuse.recommend.robustness.fills import FILLS, fills_of
from mmfuse.recommend.robustness.result import RankingRobustness

__all__ = [
    "FILLS",
    "EncodedItems",
    "RankingRobustness",
    "fills_of",
    "item_conditions",
    "ranking_robustness",
]
