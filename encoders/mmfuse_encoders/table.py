"""Encoders for tables, numbers and category codes: FT-Transformer, and embeddings with an MLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.vector import perceptron, with_indicators


class CategoryEmbedding(nn.Module):
    """One embedding for each code of each categorical column, looked up all at once.

    A code that its column does not have counts as 0, missing or unseen. The embedding of 0
    starts at zero: it says nothing as long as training never shows a missing value.

    Args:
        sizes: number of codes of each column, 0 included.
        width: width of an embedding.

    Shape:
        codes (B, K) float -> (B, K, width)
    """

    sizes: Tensor
    starts: Tensor

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        counts = torch.tensor(sizes, dtype=torch.long)
        self.register_buffer("sizes", counts, persistent=False)
        self.register_buffer("starts", counts.cumsum(0) - counts, persistent=False)
        self.table = nn.Embedding(int(counts.sum()), width)
        nn.init.uniform_(self.table.weight, -(width**-0.5), width**-0.5)
        with torch.no_grad():
            self.table.weight[self.starts] = 0

    def forward(self, codes: Tensor) -> Tensor:
        """Looks the codes up."""
        known = (codes >= 0) & (codes < self.sizes)
        return self.table(codes.masked_fill(~known, 0).long() + self.starts)


class TableMLPEncoder(Encoder):
    """Perceptron over the numbers and an embedding of each category.

    Where cells may be missing, each number has a second input that says whether it is; the
    number itself is then zero, which is the training mean if data are standardised.

    Args:
        spec: a table, its last columns category codes.
        out_dim: width of the result.
        hidden: widths of the hidden layers.
        embedding_dim: width of each category's embedding.
        dropout: rate after every hidden layer.
        frozen: no learning.

    Shape:
        (B, C) -> (B, out_dim)
    """

    kinds = frozenset({"table"})
    default_for = frozenset({"table"})
    takes_gaps = True

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: Sequence[int] = (128,),
        embedding_dim: int = 16,
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        numbers, sizes = self.spec.numeric_width, self.spec.categories
        self.embed = CategoryEmbedding(sizes, embedding_dim) if sizes else None
        inputs = numbers * (2 if self.spec.has_gaps else 1) + embedding_dim * len(sizes)
        self.layers = perceptron(inputs, hidden, out_dim, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes the rows."""
        numbers, codes = x.tensor_split([self.spec.numeric_width], dim=1)
        if self.spec.has_gaps:
            numbers = with_indicators(numbers)
        if self.embed is None:
            return self.layers(numbers)
        return self.layers(torch.cat([numbers, self.embed(codes).flatten(1)], dim=1))


class FTTransformerEncoder(Encoder):
    """Feature tokenizer and transformer: columns as tokens that attend to one another.

    Column j becomes the token ``b_j + x_j w_j`` if it is a number, ``b_j + e_j[code]`` if it
    is a category. Where cells may be missing, ``b_j + u_j`` with a learned ``u_j`` stands for a
    number that is. A learned CLS token joins them, and pre-norm blocks follow::

        h = h + Attention(LayerNorm(h))        no LayerNorm here in the first block
        h = h + ReGLU(LayerNorm(h))
        readout(h) = Linear(ReLU(LayerNorm(h)))

    Args:
        spec: a table or a vector.
        out_dim: width of the result.
        hidden: width of the tokens inside.
        layers: number of blocks.
        heads: attention heads; they divide ``hidden``.
        dropout: rate in the attention weights and inside the feed-forward part.
        tokens: read out every column's token, for a fusion that attends, not the CLS token.
        frozen: no learning.

    Shape:
        (B, C) -> (B, out_dim), or Tokens (B, C, out_dim)

    Raises:
        ConfigError: ``heads`` does not divide ``hidden``.

    Reference: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data",
        NeurIPS 2021, arXiv:2106.11959, section 3.3.

    Departs from the paper: a token for a missing number, ours, as the paper's tables have none
    missing; its form is that of the paper's categories.
    """

    kinds = frozenset({"table", "vector"})
    takes_gaps = True

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 192,
        layers: int = 3,
        heads: int = 8,
        dropout: float = 0.1,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        if hidden % heads:
            raise ConfigError(
                f"FTTransformerEncoder: hidden {hidden} is no multiple of {heads} heads. "
                "Change one of them."
            )
        self.tokens = tokens
        self.tokenizer = _FeatureTokenizer(self.spec, hidden)
        self.blocks = nn.ModuleList(
            _Block(hidden, heads, dropout, norm_first=i > 0) for i in range(layers)
        )
        self.readout = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out_dim))

    def forward(self, x: Tensor) -> Tensor | Tokens:
        """Encodes the rows."""
        h = self.tokenizer(x)
        for block in self.blocks:
            h = block(h)
        if not self.tokens:
            return self.readout(h[:, 0])
        values = self.readout(h[:, 1:])
        return Tokens(values, values.new_ones(values.shape[:2], dtype=torch.bool))


class _FeatureTokenizer(nn.Module):
    """Columns (B, C) -> tokens (B, 1 + C, width), the CLS token first."""

    def __init__(self, spec: ModalitySpec, width: int) -> None:
        super().__init__()
        self.numbers = spec.numeric_width
        bound = width**-0.5

        def uniform(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, width).uniform_(-bound, bound))

        self.weight = uniform(self.numbers) if self.numbers else None
        # It starts at zero: a gap says nothing as long as training never shows one.
        has_gaps = spec.has_gaps and self.numbers > 0
        self.missing = nn.Parameter(torch.zeros(self.numbers, width)) if has_gaps else None
        self.bias = uniform(spec.width)
        self.cls = uniform(1)
        self.embed = CategoryEmbedding(spec.categories, width) if spec.categories else None

    def forward(self, x: Tensor) -> Tensor:
        numbers, codes = x.tensor_split([self.numbers], dim=1)
        tokens = []
        if self.weight is not None:
            tokens.append(self._of_numbers(numbers.unsqueeze(-1), self.weight))
        if self.embed is not None:
            tokens.append(self.embed(codes))
        columns = torch.cat(tokens, dim=1) + self.bias
        return torch.cat([self.cls.expand(len(x), 1, -1), columns], dim=1)

    def _of_numbers(self, numbers: Tensor, weight: Tensor) -> Tensor:
        if self.missing is None:
            return numbers * weight
        # A gap is zero before it is multiplied: NaN in a branch not taken spoils gradients.
        gaps = numbers.isnan()
        return torch.where(gaps, self.missing, numbers.masked_fill(gaps, 0) * weight)


class _Block(nn.Module):
    """Attention, then a feed-forward part with ReGLU, each added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        inner = 4 * width // 3
        self.attention_norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.forward_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * inner)
        self.drop = nn.Dropout(dropout)
        self.narrow = nn.Linear(inner, width)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self._attend(self.attention_norm(h))
        value, gate = self.widen(self.forward_norm(h)).chunk(2, dim=-1)
        return h + self.narrow(self.drop(value * gate.relu()))

    def _attend(self, h: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(h).chunk(3, dim=-1)
        )
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return self.out(mixed.transpose(1, 2).flatten(-2))
