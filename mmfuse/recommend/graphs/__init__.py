"""Graphs of users and items, as sparse matrices."""

from mmfuse.recommend.graphs.bipartite import edge_weights, sampled_edges, user_item_graph
from mmfuse.recommend.graphs.cooccurrence import (
    by_item,
    cooccurrence_cosine,
    cooccurrence_graph,
    most_shared,
)
from mmfuse.recommend.graphs.interest import interests
from mmfuse.recommend.graphs.nearest import blended, nearest, similarity_graph
from mmfuse.recommend.graphs.sparse import SparseMatrix

__all__ = [
    "SparseMatrix",
    "blended",
    "by_item",
    "cooccurrence_cosine",
    "cooccurrence_graph",
    "edge_weights",
    "interests",
    "most_shared",
    "nearest",
    "sampled_edges",
    "similarity_graph",
    "user_item_graph",
]
