"""Recommendation: users, items and their modalities -> ranked lists of items."""

from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.lists import ItemLists

__all__ = ["Interactions", "ItemLists", "RankingBatch"]
