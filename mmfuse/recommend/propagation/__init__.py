"""Propagation of users' and items' vectors along graphs."""

from mmfuse.recommend.propagation.base import Chain, GraphData, Propagation, Sides, SumOf
from mmfuse.recommend.propagation.cooccurrence import CoOccurrenceGraph
from mmfuse.recommend.propagation.items import EnhancedItemGraph, ItemGraph
from mmfuse.recommend.propagation.lightgcn import LightGCN
from mmfuse.recommend.propagation.one_sided import OneSidedGraph
from mmfuse.recommend.propagation.users import UserInterestGraph

__all__ = [
    "Chain",
    "CoOccurrenceGraph",
    "EnhancedItemGraph",
    "GraphData",
    "ItemGraph",
    "LightGCN",
    "OneSidedGraph",
    "Propagation",
    "Sides",
    "SumOf",
    "UserInterestGraph",
]
