"""LightGCN: vectors averaged along the graph of users and items, and nothing else."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix, sampled_edges, user_item_graph
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.propagation.base import GraphData, Propagation, Sides


class LightGCN(Propagation):
    """Mean of the layers that passing vectors along the interactions gives.

    ::

        x_u^(l+1) = sum_{i in N(u)} x_i^(l) / sqrt(d_u d_i),   x_i^(l+1) likewise
        y         = 1/(L+1) sum_{l=0..L} x^(l)   (+ x^(0), ``residual``)

    Args:
        layers: L.
        residual: add the start to the items' mean (``item``, as BM3 does), to both sides
            (``both``) or to none.
        keep: share of the interactions that training passes along, drawn anew each epoch in
            proportion to ``1 / sqrt(d_u d_i)`` as FREEDOM does; evaluation passes along all.

    Raises:
        ConfigError: layers below 1, an unknown residual, or a share outside (0, 1].

    References: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for
        Recommendation", SIGIR 2020, arXiv:2002.02126. Zhou and Shen, "A Tale of Two Graphs"
        (FREEDOM), 2023, arXiv:2211.06924.
    """

    def __init__(
        self,
        layers: int = 2,
        residual: Literal["none", "item", "both"] = "none",
        keep: float = 1.0,
    ) -> None:
        super().__init__()
        if layers < 1 or residual not in ("none", "item", "both") or not 0 < keep <= 1:
            raise ConfigError(
                f"LightGCN: layers {layers}, residual {residual!r}, keep {keep}; expected 1 layer "
                "or more, none, item or both, and a share above 0 and up to 1."
            )
        self.layers, self.residual, self.keep = layers, residual, keep
        self.graph = SparseMatrix()
        self._pruned: SparseMatrix | None = None
        self._seed = 0

    def build(self, data: GraphData) -> None:
        """Makes the graph of all training interactions."""
        self.graph, self._seed = user_item_graph(data.train), data.seed

    def start_epoch(self, epoch: int) -> None:
        """Draws the interactions of the epoch, the same whatever was drawn before."""
        if self.keep == 1:
            return
        users, items, _ = (t.cpu() for t in self.graph.entries())
        train = ItemLists.of(users, items, *self.graph.shape)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        pruned = user_item_graph(train, sampled_edges(train, self.keep, generator))
        # Not a module of this one: a checkpoint carries the whole graph, and its draw is known.
        object.__setattr__(self, "_pruned", pruned.to(self.graph.values.device))

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Passes along and averages.

        Shape:
            users (U, D), items (I, D) -> the same
        """
        graph = self._pruned if self.training and self._pruned is not None else self.graph
        total_users, total_items = users, items
        x_u, x_i = users, items
        for _ in range(self.layers):
            x_u, x_i = graph(x_i), graph.transposed(x_u)
            total_users, total_items = total_users + x_u, total_items + x_i
        y_u, y_i = total_users / (self.layers + 1), total_items / (self.layers + 1)
        if self.residual == "both":
            y_u = y_u + users
        return y_u, y_i if self.residual == "none" else y_i + items

    def alone(self, items: Tensor) -> Tensor:
        """Without a neighbour only layer 0 is left of the mean."""
        return items / (self.layers + 1) + (0 if self.residual == "none" else items)
