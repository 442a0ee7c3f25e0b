"""OneSided: what all graphs among items, or among users, share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix, blended, by_item, cooccurrence_graph
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.propagation.base import GraphData, Propagation, Sides

Side = Literal["items", "users"]


class OneSided(Propagation):
    """Base of graphs among items or among users; the other side is left alone.

    ::

        h = S^L x   (to unit norm, ``unit``)   (+ x, ``residual``)

    A subclass says which side, and gives S.

    Args:
        layers: L.
        residual: add the start.
        unit: scale each h to a norm of one before that.

    Raises:
        ConfigError: layers below 1.
    """

    side: Side

    def __init__(self, layers: int, residual: bool, unit: bool) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"{type(self).__name__}: layers {layers}; expected 1 or more.")
        self.layers, self.residual, self.unit = layers, residual, unit

    def lists(self, data: GraphData) -> ItemLists:
        """What each row of this side was in training with: a user's items, or an item's users."""
        return data.train if self.side == "users" else by_item(data.train)

    @abstractmethod
    def along(self) -> Callable[[Tensor], Tensor]:
        """What takes x to S x; made once for all layers."""

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Passes one side along.

        Shape:
            users (U, D), items (I, D) -> the side of the graph likewise, None for the other one
        """
        start = items if self.side == "items" else users
        x, along = start, self.along()
        for _ in range(self.layers):
            x = along(x)
        x = F.normalize(x, dim=1) if self.unit else x
        x = x + start if self.residual else x
        return (None, x) if self.side == "items" else (x, None)

    def alone(self, items: Tensor) -> Tensor:
        """Zero and the start, as there are no neighbours."""
        if self.side == "users" or self.residual:
            return items
        return torch.zeros_like(items)


class FrozenGraph(OneSided):
    """Base of graphs that are made once; a subclass makes S."""

    def __init__(self, layers: int, residual: bool, unit: bool) -> None:
        super().__init__(layers, residual, unit)
        self.graph = SparseMatrix()

    @abstractmethod
    def make(self, data: GraphData) -> SparseMatrix:
        """S, of ``(I, I)`` or of ``(U, U)``.

        Raises:
            ConfigError: the data lacks what it is made of.
        """

    def build(self, data: GraphData) -> None:
        """Makes the graph."""
        self.graph = self.make(data)

    def along(self) -> Callable[[Tensor], Tensor]:
        """The graph."""
        return self.graph


class AlikeGraph(FrozenGraph):
    """Base of graphs of what is alike, with a share of what occurs together if wanted.

    ::

        S = (1 - c) sum_m w_m D_m^-1/2 A_m D_m^-1/2 + c C

    A_m joins each row to the k nearest by cosine in modality m; C is the graph of
    ``CoOccurrenceGraph`` on the same side.

    Args:
        k: neighbours, the row itself among them.
        weights: of each modality; equal by default. They are scaled to sum to one over those
            that a row has.
        layers: L.
        residual: add the start.
        co_weight: c, from 0 up to, but below, 1.
        co_k: neighbours in C.
        unit: scale to a norm of one before that.

    Raises:
        ConfigError: a number out of its range; at ``build`` no features, or weights of a modality
            that items lack.
    """

    def __init__(
        self,
        k: int = 10,
        weights: Mapping[str, float] | None = None,
        layers: int = 1,
        residual: bool = False,
        co_weight: float = 0.0,
        co_k: int = 10,
        unit: bool = False,
    ) -> None:
        super().__init__(layers, residual, unit)
        name = type(self).__name__
        if k < 1 or co_k < 1 or not all(w > 0 for w in (weights or {}).values()):
            raise ConfigError(
                f"{name}: k {k}, co_k {co_k}, weights {dict(weights or {})}; expected numbers of "
                "1 or more, and weights above 0."
            )
        if not 0 <= co_weight < 1:
            raise ConfigError(
                f"{name}: co_weight {co_weight}; expected 0 up to, but below, 1. "
                "CoOccurrenceGraph is the graph of what occurs together alone."
            )
        self.k, self.co_weight, self.co_k = k, co_weight, co_k
        self.weights = None if weights is None else dict(weights)

    @abstractmethod
    def alike(self, data: GraphData, weights: Mapping[str, float]) -> SparseMatrix:
        """The first sum of S.

        Args:
            data: what graphs are made of.
            weights: w_m of each modality.
        """

    def make(self, data: GraphData) -> SparseMatrix:
        """Finds the neighbours."""
        weights = self.weights or dict.fromkeys(data.features, 1.0)
        check_features(type(self).__name__, weights, data)
        graph = self.alike(data, weights)
        if not self.co_weight:
            return graph
        together = cooccurrence_graph(self.lists(data), self.co_k)
        return blended([(1 - self.co_weight, graph), (self.co_weight, together)])


def check_features(name: str, weights: Mapping[str, float], data: GraphData) -> None:
    """Whether items have what a graph is made of.

    Raises:
        ConfigError: items have no features, or lack a modality that has a weight.
    """
    if not data.features:
        raise ConfigError(f"{name} joins what is alike by features, and items have none.")
    if unknown := set(weights) - set(data.features):
        raise ConfigError(
            f"{name} has weights of {sorted(unknown)}; items have {list(data.features)}."
        )
