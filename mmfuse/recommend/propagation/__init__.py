"""Propagation of users' and items' vectors along graphs."""

from mmfuse.recommend.propagation.base import Chain, GraphData, Propagation, Sides, SumOf
from mmfuse.recommend.propagation.cooccurrence import CoOccurrenceGraph
from mmfuse.recommend.propagation.items import EnhancedItemGraph, ItemGraph
from mmfuse.recommend.propagation.learned import LearnedItemGraph
from mmfuse.recommend.propagation.lightgcn import LightGCN
from mmfuse.recommend.propagation.one_sided import FrozenGraph, OneSided
from mmfuse.recommend.propagation.shared_knowledge import SharedKnowledge
from mmfuse.recommend.propagation.users import UserInterestGraph

__all__ = [
    "Chain",
    "CoOccurrenceGraph",
    "EnhancedItemGraph",
    "FrozenGraph",
    "GraphData",
    "ItemGraph",
    "LearnedItemGraph",
    "LightGCN",
    "OneSided",
    "Propagation",
    "SharedKnowledge",
    "Sides",
    "SumOf",
    "UserInterestGraph",
]
