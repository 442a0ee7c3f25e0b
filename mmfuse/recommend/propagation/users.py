"""UserInterestGraph: vectors of users passed along to users of like taste."""

from __future__ import annotations

from collections.abc import Mapping

from mmfuse.recommend.graphs import (
    SparseMatrix,
    interests,
    similarity_graph,
)
from mmfuse.recommend.propagation.base import GraphData
from mmfuse.recommend.propagation.one_sided import AlikeGraph


class UserInterestGraph(AlikeGraph):
    """Vectors of users passed along to users of like taste; items are left alone.

    ::

        h = S^L x,   S = (1 - c) sum_m w_m D_m^-1/2 A_m D_m^-1/2 + c C

    A_m joins each user to the k nearest by the cosine of the mean raw features of what they took
    in training, of those items that have modality m. C joins users who took the same items. A
    user without any such item has no neighbours.

    Args:
        k: neighbours, the user itself among them.
        weights: of each modality; equal by default. They are scaled to sum to one over those
            that a user's items have.
        layers: L.
        residual: add the start.
        co_weight: c, the share of users who took the same; below 1.
        co_k: neighbours in C.
        unit: scale h to a norm of one, before a residual.

    Raises:
        ConfigError: a number out of its range; at ``build`` no features, or weights of a modality
            that items lack.

    Reference: REARM, arXiv:2508.13745.
    """

    side = "users"

    def alike(self, data: GraphData, weights: Mapping[str, float]) -> SparseMatrix:
        """Finds the neighbours."""
        means, has = interests(data.train, {m: data.features[m] for m in weights}, data.present)
        return similarity_graph(means, has, self.k, weights)
