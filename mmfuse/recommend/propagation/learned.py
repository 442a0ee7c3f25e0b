"""LearnedItemGraph: a graph of items whose edges are found anew as their features are learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix, nearest
from mmfuse.recommend.propagation.base import GraphData
from mmfuse.recommend.propagation.one_sided import OneSided, check_features


class LearnedItemGraph(OneSided):
    """Vectors of items passed along a graph that is partly learned; users are left alone.

    ::

        h    = S^L x   (to unit norm)   (+ x)
        S    = sum_m a_m (c N(A_m) + (1 - c) N(B_m)),   a = softmax of learned numbers
        A_m  = the k nearest by cos(f_i, f_j) of the raw features, each by its cosine from 0 up
        B_m  = the same of the learned features W_m f_i + b_m
        N(A) = D^-1/2 A D^-1/2,   D the row sums of A

    Neighbours in B_m are looked for at the start of each epoch; their cosines are computed at
    each step, and W_m learns through them. An item that lacks a modality is in neither of its
    graphs, and its a is the softmax over those that it has. The raw features become part of the
    checkpoint, which needs them.

    Args:
        k: neighbours, the item itself among them.
        dim: width of the learned features.
        frozen: c, the share of the raw graph, from 0 up to, but below, 1.
        layers: L.
        residual: add the start.
        unit: scale h to a norm of one before that.

    Raises:
        ConfigError: a number out of its range; at ``build`` no features.

    Reference: Zhang et al., "Mining Latent Structures for Multimedia Recommendation" (LATTICE),
        ACM MM 2021, arXiv:2104.09036, section 3.1.

    Departs from the paper: cosines below zero count as zero, so that degrees are above it.
    """

    side = "items"

    def __init__(
        self,
        k: int = 10,
        dim: int = 64,
        frozen: float = 0.9,
        layers: int = 1,
        residual: bool = True,
        unit: bool = True,
    ) -> None:
        super().__init__(layers, residual, unit)
        if k < 1 or dim < 1 or not 0 <= frozen < 1:
            raise ConfigError(
                f"LearnedItemGraph: k {k}, dim {dim}, frozen {frozen}; expected numbers of 1 or "
                "more, and a share from 0 up to, but below, 1. ItemGraph is all frozen."
            )
        self.k, self.dim, self.frozen = k, dim, frozen
        self.parts = nn.ModuleDict()

    def build(self, data: GraphData) -> None:
        """Makes the raw graphs, and the first of the learned ones."""
        check_features(type(self).__name__, {}, data)
        for m, rows in data.features.items():
            part = _Part(rows.shape[0], rows.shape[1], self.dim)
            part.present = data.present[m]
            part.features = torch.where(part.present.unsqueeze(1), rows.float(), 0)
            part.start(self.k)
            self.parts[m] = part

    def _parts(self) -> list[_Part]:
        return [p for p in self.parts.values() if isinstance(p, _Part)]

    def start_epoch(self, epoch: int) -> None:
        """Looks for the neighbours anew, by what has been learned."""
        for part in self._parts():
            part.find(self.k)

    def along(self) -> Callable[[Tensor], Tensor]:
        """Both graphs of every modality, the learned ones with the cosines of this step."""
        parts = self._parts()
        present = torch.stack([p.present for p in parts], dim=1)
        scores = torch.stack([p.score for p in parts]).expand(present.shape)
        # An item without any modality has no edges: what its weights are does not matter.
        share = scores.masked_fill(~present, -1e9).softmax(dim=1)
        learned = [p.learned() for p in parts]

        def step(x: Tensor) -> Tensor:
            made = [
                self.frozen * part.raw(x) + (1 - self.frozen) * edges(x)
                for part, edges in zip(parts, learned, strict=True)
            ]
            return (torch.stack(made, dim=2) * share.to(x.dtype).unsqueeze(1)).sum(dim=2)

        return step

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Makes room for the modalities of the checkpoint; each loads itself in its turn."""
        start, end = f"{prefix}parts.", ".features"
        for key, rows in state_dict.items():
            if key.startswith(start) and key.endswith(end):
                self.parts[key[len(start) : -len(end)]] = _Part(
                    rows.shape[0], rows.shape[1], self.dim
                )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Part(nn.Module):
    """One modality: its features and both of its graphs."""

    features: Tensor
    present: Tensor

    def __init__(self, count: int, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(count, width))
        self.register_buffer("present", torch.zeros(count, dtype=torch.bool))
        self.project, self.score = nn.Linear(width, dim), nn.Parameter(torch.zeros(()))
        self.raw, self.found = SparseMatrix(), SparseMatrix()

    def start(self, k: int) -> None:
        """Makes the raw graph and finds the first neighbours."""
        source, target, cosine = nearest(self.features, self.present, k)
        size = (len(self.features), len(self.features))
        value = _normalised(source, target, cosine, size[0])
        self.raw = SparseMatrix.of(source, target, value, size)
        self.find(k)

    @torch.no_grad()
    def find(self, k: int) -> None:
        """Looks for the nearest by the features as they are learned so far."""
        source, target, cosine = nearest(self.project(self.features), self.present, k)
        self.found = SparseMatrix.of(source, target, cosine, (len(self.features),) * 2)

    def learned(self) -> Callable[[Tensor], Tensor]:
        """The learned graph; its weights have a gradient."""
        unit = F.normalize(self.project(self.features), dim=1)
        source, target, _ = self.found.entries()
        cosine = (unit[source] * unit[target]).sum(dim=1)
        value = _normalised(source, target, cosine, len(unit))

        def step(x: Tensor) -> Tensor:
            return F.embedding_bag(
                target,
                x,
                self.found.offsets,
                mode="sum",
                per_sample_weights=value.to(x.dtype),
                include_last_offset=True,
            )

        return step


def _normalised(source: Tensor, target: Tensor, cosine: Tensor, count: int) -> Tensor:
    """``1 / sqrt(d_i d_j)`` of each cosine from 0 up."""
    value = cosine.clamp(min=0)
    degree = value.new_zeros(count).index_add(0, source, value).clamp(min=1e-6)
    return value * (degree[source] * degree[target]).rsqrt()
