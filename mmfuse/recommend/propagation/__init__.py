"""Propagation of users' and items' vectors along graphs."""

from mmfuse.recommend.propagation.base import Chain, GraphData, Propagation, Sides, SumOf
from mmfuse.recommend.propagation.items import ItemGraph
from mmfuse.recommend.propagation.lightgcn import LightGCN

__all__ = ["Chain", "GraphData", "ItemGraph", "LightGCN", "Propagation", "Sides", "SumOf"]
