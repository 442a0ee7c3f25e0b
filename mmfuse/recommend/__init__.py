"""Recommendation: users, items and their modalities -> ranked lists of items."""

from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.ideal_point import IdealPointScore
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.negatives import NegativeSampler
from mmfuse.recommend.prototypes import PrototypeUsers
from mmfuse.recommend.recommender import Recommender
from mmfuse.recommend.scores import DotScore, Score
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
from mmfuse.recommend.users import Users, UserVectors

__all__ = [
    "INTERACTIONS",
    "CatalogueInteractions",
    "ColdStartSplit",
    "DotScore",
    "GivenSplit",
    "IdealPointScore",
    "InteractionArrays",
    "InteractionDataset",
    "InteractionSource",
    "InteractionTable",
    "Interactions",
    "ItemCatalogue",
    "ItemLists",
    "ItemVectors",
    "LeaveOneOut",
    "MMRecFolder",
    "NegativeSampler",
    "PrototypeUsers",
    "RandomSplit",
    "RankingBatch",
    "RawInteractions",
    "RecommendationData",
    "RecommendationModel",
    "Recommender",
    "Score",
    "SplitRule",
    "TimeSplit",
    "UserTimeSplit",
    "UserVectors",
    "Users",
]
