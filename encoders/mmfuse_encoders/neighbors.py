"""Encoder for a set of neighbours, each an embedding, with or without a graph among them (MMGL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.attention import check_heads, closed
from mmfuse_encoders.neighbor_positions import GraphPosition, IndexPosition, LaplacianPosition
from mmfuse_encoders.tokens import sequence

Position = Literal["none", "index", "laplacian", "gnn"]


class NeighborEncoder(Encoder):
    """A set of neighbours' embeddings, pooled with attention (MMGL).

    A linear map makes k tokens of each neighbour, a position may be added to them, and a
    learned query gathers them all::

        x_i    = reshape(W n_i + b [+ position_i], k tokens)
        pooled = readout(Attention(query, {LayerNorm(x_i,j)}))

    Positions are

    - ``none``: a set, whose order counts for nothing;
    - ``index``: a learned vector for each place in the list, index 0 for padding;
    - ``laplacian``: a linear map of the graph's first Laplacian eigenvectors, of their
      absolute values: an eigenvector's sign is the solver's choice, and a map that treats both
      signs alike at each node can see nothing else. Eigenvectors of one eigenvalue share the
      root of their mean square, which no rotation among them changes. It tells the part that a
      neighbour plays in the graph, not which others it is linked to;
    - ``gnn``: two steps of message passing, ``W_2 [h, A h]`` of ``h = ReLU(W_1 [X, A X])``.

    The graph comes with the neighbours: the last ``adjacency`` columns of each are its row of
    the adjacency matrix A, whose column j belongs to the row's j-th neighbour. Standardisation,
    which reaches these columns like all others, is undone by the spec's mean and deviation.

    Args:
        spec: a tokens modality; a token is a neighbour.
        out_dim: width of the result.
        hidden: width of the k tokens inside.
        k: tokens made of each neighbour.
        heads: attention heads of the pooling; they divide ``hidden``.
        position: what tells neighbours apart besides their content.
        adjacency: how many columns at the end are a row of the adjacency matrix, as many as a
            row has neighbours at most. Positions without a graph leave them out.
        most: for ``index``, places with a vector of their own; later ones share the last.
        eigenvectors: for ``laplacian``, how many are read.
        dropout: rate in the attention weights of the pooling.
        tokens: give all k tokens of every neighbour, for a fusion that attends; the query is
            left out.
        frozen: no learning.

    Shape:
        (B, N, C) or Tokens -> (B, out_dim), or Tokens (B, N * k, out_dim)

    Raises:
        ConfigError: ``heads`` does not divide ``hidden``, or a graph is asked for and the
            columns cannot hold it.
        DataError: a row with more neighbours than its adjacency matrix has columns.

    Reference: Yoon et al., "Multimodal Graph Learning for Generative Tasks", 2023,
        arXiv:2310.07478 (k tokens and positions). Pooling by a learned query: Lee et al., "Set
        Transformer", ICML 2019, arXiv:1810.00825, section 3.2.

    Departs from the authors' code, where a language model attends to the tokens: pooling by a
    query, a LayerNorm before it; absolute values of Laplacian eigenvectors; the graph links
    neighbours alone and has no node for the row itself.
    """

    kinds = frozenset({"tokens"})

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 64,
        k: int = 4,
        heads: int = 4,
        position: Position = "none",
        adjacency: int = 0,
        most: int = 16,
        eigenvectors: int = 8,
        dropout: float = 0.0,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        check_heads("NeighborEncoder", hidden, heads)
        self.features = self.spec.width - adjacency
        self._check_graph(position, adjacency)
        self.k, self.tokens, self.has_graph = k, tokens, position in ("laplacian", "gnn")
        mean, std = self.spec.mean[self.features :], self.spec.std[self.features :]
        self.register_buffer("shift", torch.tensor(mean or (0.0,)), persistent=False)
        self.register_buffer("scale", torch.tensor(std or (1.0,)), persistent=False)
        width = k * hidden
        self.map = nn.Linear(self.features, width)
        self.position: nn.Module | None = None
        if position == "index":
            self.position = IndexPosition(most, width)
        elif position == "laplacian":
            self.position = LaplacianPosition(eigenvectors, width)
        elif position == "gnn":
            self.position = GraphPosition(width)
        self.norm = nn.LayerNorm(hidden)
        if not tokens:
            self.query = nn.Parameter(torch.randn(hidden) * hidden**-0.5)
            self.attention = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True)
        self.readout = nn.Linear(hidden, out_dim)

    def _check_graph(self, position: Position, adjacency: int) -> None:
        neighbors = self.spec.shape[0] or 0
        if position in ("laplacian", "gnn") and not max(neighbors, 1) <= adjacency:
            raise ConfigError(
                f"NeighborEncoder: position {position!r} with adjacency={adjacency} for "
                f"{neighbors or 'any number of'} neighbours; expected a column for each neighbour."
            )
        if self.features < 1 or adjacency < 0:
            raise ConfigError(
                f"NeighborEncoder: adjacency={adjacency} of {self.spec.width} columns leaves "
                f"{self.features} that say what a neighbour is. Check the columns."
            )

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Encodes the rows."""
        given = sequence(x)
        features, columns = given.values.tensor_split([self.features], dim=2)
        states = self.map(features)
        if self.position is not None:
            edges = self._edges(columns, given.mask)
            states = states + self.position(states, given.mask, edges)
        states = self.norm(states.unflatten(2, (self.k, -1)).flatten(1, 2))
        mask = given.mask.repeat_interleave(self.k, dim=1)
        if self.tokens:
            return Tokens(self.readout(states), mask)
        query = self.query.expand(len(states), 1, -1)
        pooled, _ = self.attention(
            query, states, states, key_padding_mask=closed(mask), need_weights=False
        )
        return self.readout(pooled.squeeze(1))

    def _edges(self, columns: Tensor, mask: Tensor) -> Tensor:
        """The adjacency matrix (B, N, N) among real neighbours; empty without a graph."""
        if not self.has_graph:
            return columns[:, :, :0]
        short = mask.shape[1] - columns.shape[2]
        if short > 0 and mask[:, -short:].any():
            raise DataError(
                f"NeighborEncoder: a row has more than {columns.shape[2]} neighbours, the columns "
                "of its adjacency matrix. Give a column for each neighbour."
            )
        weights = F.pad(columns * self.scale + self.shift, (0, max(short, 0)))
        both = mask.unsqueeze(2) & mask.unsqueeze(1)
        return weights[:, :, : mask.shape[1]].masked_fill(~both, 0)
