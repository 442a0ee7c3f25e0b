"""Encoder for features that come as tokens, and the view of a sequence that series share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


def sequence(x: Tensor | Tokens) -> Tokens:
    """A batch of sequences (B, T, C), all real if they are a tensor, zero under padding."""
    if isinstance(x, Tokens):
        return x.keep(x.mask.new_ones(len(x)))
    return Tokens(x, x.new_ones(x.shape[:2], dtype=torch.bool))


class TokenProjectionEncoder(Encoder):
    """Linear map and LayerNorm of precomputed token features.

    Args:
        spec: a tokens modality.
        out_dim: width of the result.
        dropout: rate after the LayerNorm.
        pool: give the mean over the real tokens, not the tokens.
        frozen: no learning.

    Shape:
        (B, T, C) or Tokens -> Tokens (B, T, out_dim), or (B, out_dim)
    """

    kinds = frozenset({"tokens"})
    default_for = frozenset({"tokens"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        dropout: float = 0.0,
        pool: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.pool = pool
        self.layers = nn.Sequential(
            nn.Linear(self.spec.width, out_dim), nn.LayerNorm(out_dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Projects the tokens and keeps their mask."""
        given = sequence(x)
        tokens = Tokens(self.layers(given.values), given.mask)
        return tokens.pooled() if self.pool else tokens
