"""Ranking: the best items of all, how good they are, and for whom."""

from mmfuse.recommend.ranking.evaluation import KS, RankingEvaluation, evaluate_ranking
from mmfuse.recommend.ranking.exposure import Exposure, intra_list_similarity, popularity_of
from mmfuse.recommend.ranking.metrics import METRICS, ranking_metrics
from mmfuse.recommend.ranking.per_user import compare_users, per_user_table, write_per_user
from mmfuse.recommend.ranking.slices import item_slices, restricted, user_slices
from mmfuse.recommend.ranking.top import TopItems, dot, top_items

__all__ = [
    "KS",
    "METRICS",
    "Exposure",
    "RankingEvaluation",
    "TopItems",
    "compare_users",
    "dot",
    "evaluate_ranking",
    "intra_list_similarity",
    "item_slices",
    "per_user_table",
    "popularity_of",
    "ranking_metrics",
    "restricted",
    "top_items",
    "user_slices",
    "write_per_user",
]
