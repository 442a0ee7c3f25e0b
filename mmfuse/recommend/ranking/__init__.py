"""Ranking: the best items of all, and how good they are."""

from mmfuse.recommend.ranking.metrics import METRICS, ranking_metrics
from mmfuse.recommend.ranking.top import TopItems, dot, top_items

__all__ = ["METRICS", "TopItems", "dot", "ranking_metrics", "top_items"]
