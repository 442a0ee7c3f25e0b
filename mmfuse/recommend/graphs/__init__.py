"""Graphs of users and items, as sparse matrices."""

from mmfuse.recommend.graphs.bipartite import edge_weights, sampled_edges, user_item_graph
from mmfuse.recommend.graphs.nearest import item_graph, nearest
from mmfuse.recommend.graphs.sparse import SparseMatrix

__all__ = [
    "SparseMatrix",
    "edge_weights",
    "item_graph",
    "nearest",
    "sampled_edges",
    "user_item_graph",
]
