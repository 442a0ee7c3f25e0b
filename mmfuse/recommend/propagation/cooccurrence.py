"""CoOccurrenceGraph: vectors passed along what is taken together, or by the same users."""

from __future__ import annotations

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix, cooccurrence_graph
from mmfuse.recommend.graphs.cooccurrence import CoWeights
from mmfuse.recommend.propagation.base import GraphData
from mmfuse.recommend.propagation.one_sided import FrozenGraph, Side


class CoOccurrenceGraph(FrozenGraph):
    """Vectors of one side passed along to those that share the most with it.

    ::

        h = S^L x,   S_ij = softmax over i's neighbours of n_ij

    n_ij is the number of users that took both items i and j in training, or the number of items
    that both users took; the neighbours are the k of the largest numbers. One that shares nothing
    has no neighbours.

    Args:
        of: ``items`` or ``users``; the other side is left alone.
        k: neighbours, without itself.
        weighting: ``softmax`` of the numbers, or each one's ``share`` of their sum.
        layers: L.
        residual: add the start.
        unit: scale h to a norm of one, before a residual.

    Raises:
        ConfigError: an unknown side or weighting, k or layers below 1.

    Reference: REARM, arXiv:2508.13745.
    """

    def __init__(
        self,
        of: Side,
        k: int = 10,
        weighting: CoWeights = "softmax",
        layers: int = 1,
        residual: bool = False,
        unit: bool = False,
    ) -> None:
        super().__init__(layers, residual, unit)
        if of not in ("items", "users") or weighting not in ("softmax", "share") or k < 1:
            raise ConfigError(
                f"CoOccurrenceGraph: of {of!r}, weighting {weighting!r}, k {k}; expected items or "
                "users, softmax or share, and 1 neighbour or more."
            )
        self.side, self.k, self.weighting = of, k, weighting

    def make(self, data: GraphData) -> SparseMatrix:
        """Counts what is shared."""
        return cooccurrence_graph(self.lists(data), self.k, self.weighting)
