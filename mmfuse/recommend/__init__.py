"""Recommendation: users, items and their modalities -> ranked lists of items.

Names are imported on first use, so that the commands are quick to say what they take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmfuse.lazy import lazy

_HOMES = {
    "CatalogueInteractions": "mmfuse.recommend.sources",
    "ColdStartSplit": "mmfuse.recommend.splits",
    "DotScore": "mmfuse.recommend.scores",
    "GivenSplit": "mmfuse.recommend.splits",
    "INTERACTIONS": "mmfuse.recommend.sources",
    "Histories": "mmfuse.recommend.histories",
    "IdealPointScore": "mmfuse.recommend.ideal_point",
    "InteractionArrays": "mmfuse.recommend.sources",
    "InteractionDataset": "mmfuse.recommend.sources",
    "InteractionSource": "mmfuse.recommend.sources",
    "InteractionTable": "mmfuse.recommend.sources",
    "Interactions": "mmfuse.recommend.interactions",
    "ItemCatalogue": "mmfuse.recommend.catalogue",
    "ItemLists": "mmfuse.recommend.lists",
    "ItemVectors": "mmfuse.recommend.items",
    "LeaveOneOut": "mmfuse.recommend.splits",
    "MMRecFolder": "mmfuse.recommend.sources",
    "NegativeSampler": "mmfuse.recommend.negatives",
    "PrototypeUsers": "mmfuse.recommend.prototypes",
    "RandomSplit": "mmfuse.recommend.splits",
    "RankingBatch": "mmfuse.recommend.batch",
    "RawInteractions": "mmfuse.recommend.sources",
    "RecommendationData": "mmfuse.recommend.data",
    "RecommendationModel": "mmfuse.recommend.model",
    "Recommender": "mmfuse.recommend.recommender",
    "SASRecUsers": "mmfuse.recommend.sasrec",
    "Score": "mmfuse.recommend.scores",
    "SequenceUsers": "mmfuse.recommend.sequence_users",
    "Sequences": "mmfuse.recommend.histories",
    "SplitRule": "mmfuse.recommend.splits",
    "TimeSplit": "mmfuse.recommend.splits",
    "UserTimeSplit": "mmfuse.recommend.splits",
    "UserVectors": "mmfuse.recommend.users",
    "Users": "mmfuse.recommend.users",
}

if TYPE_CHECKING:
    from mmfuse.recommend.batch import RankingBatch
    from mmfuse.recommend.catalogue import ItemCatalogue
    from mmfuse.recommend.data import RecommendationData
    from mmfuse.recommend.histories import Histories, Sequences
    from mmfuse.recommend.ideal_point import IdealPointScore
    from mmfuse.recommend.interactions import Interactions
    from mmfuse.recommend.items import ItemVectors
    from mmfuse.recommend.lists import ItemLists
    from mmfuse.recommend.model import RecommendationModel
    from mmfuse.recommend.negatives import NegativeSampler
    from mmfuse.recommend.prototypes import PrototypeUsers
    from mmfuse.recommend.recommender import Recommender
    from mmfuse.recommend.sasrec import SASRecUsers
    from mmfuse.recommend.scores import DotScore, Score
    from mmfuse.recommend.sequence_users import SequenceUsers
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
else:
    __getattr__ = lazy(__name__, _HOMES)

__all__ = [
    "INTERACTIONS",
    "CatalogueInteractions",
    "ColdStartSplit",
    "DotScore",
    "GivenSplit",
    "Histories",
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
    "SASRecUsers",
    "Score",
    "SequenceUsers",
    "Sequences",
    "SplitRule",
    "TimeSplit",
    "UserTimeSplit",
    "UserVectors",
    "Users",
]
