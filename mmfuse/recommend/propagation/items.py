"""ItemGraph: vectors of items passed along to the items that look, sound or read alike."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix, item_graph
from mmfuse.recommend.propagation.base import GraphData, Propagation, Sides


class ItemGraph(Propagation):
    """Vectors of items passed along a frozen graph of nearest neighbours; users are left alone.

    ::

        h = S^L x,   S = sum_m w_m D_m^-1/2 A_m D_m^-1/2

    A_m joins each item to the k nearest by the cosine of the raw features of modality m. An item
    without any modality has no neighbours, and gets zero.

    Args:
        k: neighbours, the item itself among them.
        weights: of each modality, such as ``{image: 0.1, text: 0.9}``; equal by default. They
            are scaled to sum to one.
        layers: L.
        residual: add the start.

    Raises:
        ConfigError: k or layers below 1, weights that are not positive; at ``build`` no features,
            or weights of a modality that items lack.

    Reference: Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for
        Multimodal Recommendation" (FREEDOM), 2023, arXiv:2211.06924.

    Departs from the paper: weights of an item that lacks a modality are scaled to those it has.
    """

    def __init__(
        self,
        k: int = 10,
        weights: Mapping[str, float] | None = None,
        layers: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if k < 1 or layers < 1 or not all(w > 0 for w in (weights or {}).values()):
            raise ConfigError(
                f"ItemGraph: k {k}, layers {layers}, weights {dict(weights or {})}; expected "
                "numbers of 1 or more, and weights above 0."
            )
        self.k, self.layers, self.residual = k, layers, residual
        self.weights = None if weights is None else dict(weights)
        self.graph = SparseMatrix()

    def build(self, data: GraphData) -> None:
        """Finds the neighbours."""
        if not data.features:
            raise ConfigError("ItemGraph joins items by their features, and they have none.")
        weights = self.weights or dict.fromkeys(data.features, 1.0)
        if unknown := set(weights) - set(data.features):
            raise ConfigError(
                f"ItemGraph has weights of {sorted(unknown)}; items have {list(data.features)}."
            )
        self.graph = item_graph(data.features, data.present, self.k, weights)

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Passes along.

        Shape:
            items (I, D) -> the same; users are left alone
        """
        x = items
        for _ in range(self.layers):
            x = self.graph(x)
        return None, x + items if self.residual else x
