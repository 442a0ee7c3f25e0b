"""ItemGraph: vectors of items passed along to the items that look, sound or read alike."""

from __future__ import annotations

from collections.abc import Mapping

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import (
    SparseMatrix,
    by_item,
    cooccurrence_cosine,
    similarity_graph,
)
from mmfuse.recommend.propagation.base import GraphData
from mmfuse.recommend.propagation.one_sided import AlikeGraph


class ItemGraph(AlikeGraph):
    """Vectors of items passed along a frozen graph of nearest neighbours; users are left alone.

    ::

        h = S^L x,   S = (1 - c) sum_m w_m D_m^-1/2 A_m D_m^-1/2 + c C

    A_m joins each item to the k nearest by the cosine of the raw features of modality m, C to
    those that the same users took. An item without any modality has no neighbours in A_m, and
    gets zero from it.

    Args:
        k: neighbours, the item itself among them.
        weights: of each modality, such as ``{image: 0.1, text: 0.9}``; equal by default. They
            are scaled to sum to one over those that an item has.
        layers: L.
        residual: add the start.
        co_weight: c, the share of the items taken together, as REARM has it; below 1.
        co_k: neighbours in C.
        unit: scale h to a norm of one, before a residual.

    Raises:
        ConfigError: a number out of its range; at ``build`` no features, or weights of a modality
            that items lack.

    References: Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for
        Multimodal Recommendation" (FREEDOM), 2023, arXiv:2211.06924. REARM, arXiv:2508.13745.

    Departs from FREEDOM: weights of an item that lacks a modality are scaled to those it has.
    """

    side = "items"

    def alike(self, data: GraphData, weights: Mapping[str, float]) -> SparseMatrix:
        """Finds the neighbours."""
        return similarity_graph(data.features, data.present, self.k, weights)


class EnhancedItemGraph(AlikeGraph):
    """An item graph in which behaviour joins what each modality says, as CEAA has it.

    ::

        h = S^L x,   S = sum_m w_m D_m^-1/2 (A_m + g B) D_m^-1/2

    A_m is ``ItemGraph``'s, ``B_ij = n_ij / sqrt(n_i n_j)`` for the ``co_k`` items j that share
    the most users n_ij with i, and D_m holds the row sums of A_m + g B. An item that lacks a
    modality, or all of them, still has the neighbours that its users give it.

    Args:
        k: neighbours in A_m, the item itself among them.
        weights: of each modality; equal by default.
        strength: g, above 0.
        co_k: neighbours in B.
        layers: L.
        residual: add the start.
        unit: scale h to a norm of one, before a residual.

    Raises:
        ConfigError: a number out of its range; at ``build`` no features, or weights of a modality
            that items lack.

    Reference: "Semantic Item Graph Enhancement for Multimodal Recommendation" (CEAA),
        arXiv:2508.06154. Only its abstract was at hand: that signals between items from the
        interactions join each modality's graph is its own; how they do is ours.
    """

    side = "items"

    def __init__(
        self,
        k: int = 10,
        weights: Mapping[str, float] | None = None,
        strength: float = 1.0,
        co_k: int = 10,
        layers: int = 1,
        residual: bool = False,
        unit: bool = False,
    ) -> None:
        super().__init__(k, weights, layers, residual, co_k=co_k, unit=unit)
        if not strength > 0:
            raise ConfigError(f"EnhancedItemGraph: strength {strength}; expected a number above 0.")
        self.strength = strength

    def alike(self, data: GraphData, weights: Mapping[str, float]) -> SparseMatrix:
        """Finds the neighbours in features and in behaviour."""
        source, target, cosine = cooccurrence_cosine(by_item(data.train), self.co_k)
        more = source, target, self.strength * cosine
        return similarity_graph(data.features, data.present, self.k, weights, more)
