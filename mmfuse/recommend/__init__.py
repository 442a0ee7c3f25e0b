"""Recommendation: users, items and their modalities -> ranked lists of items."""

from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.negatives import NegativeSampler
from mmfuse.recommend.recommender import Recommender
from mmfuse.recommend.sources import (
    INTERACTIONS,
    CatalogueInteractions,
    InteractionArrays,
    InteractionDataset,
    InteractionSource,
    InteractionTable,
    MMRecFolder,
    RawInteractions,
)
from mmfuse.recommend.splits import (
    ColdStartSplit,
    GivenSplit,
    LeaveOneOut,
    RandomSplit,
    SplitRule,
    TimeSplit,
    UserTimeSplit,
)

__all__ = [
    "INTERACTIONS",
    "CatalogueInteractions",
    "ColdStartSplit",
    "GivenSplit",
    "InteractionArrays",
    "InteractionDataset",
    "InteractionSource",
    "InteractionTable",
    "Interactions",
    "ItemCatalogue",
    "ItemLists",
    "LeaveOneOut",
    "MMRecFolder",
    "NegativeSampler",
    "RandomSplit",
    "RankingBatch",
    "RawInteractions",
    "RecommendationData",
    "Recommender",
    "SplitRule",
    "TimeSplit",
    "UserTimeSplit",
]
