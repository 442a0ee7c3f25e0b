"""Transformer over the tokens of all modalities together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.fusion.attention import check_attention, self_attention_layer
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.tokens import Tokens


class TransformerFusion(Fusion):
    """Self-attention over the tokens of all modalities, read at a token of its own.

    ::

        X      = [cls ; W_1 x_1 + e_1 ; ... ; W_M x_M + e_M]    (all tokens of each)
        vector = LayerNorm(layers(X))[cls]

    with ``e_m`` a learned embedding of the modality. Absent modalities and padding are
    masked as keys. Cost grows with the square of the number of tokens.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the layers and of the fused vector.
        heads: attention heads; must divide ``out_dim``.
        layers: pre-norm transformer layers.
        hidden: width of the layers' perceptrons.
        dropout: rate inside the layers.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: ``heads`` does not divide ``out_dim``, or ``layers`` is below 1.

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762; over the
        tokens of several modalities as in Xu et al., "Multimodal Learning with Transformers:
        A Survey", TPAMI 2023, arXiv:2206.06488 (early concatenation).
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, out_dim)
        check_attention(type(self).__name__, out_dim, heads, layers)
        self.project = nn.ModuleDict({m: nn.Linear(d, out_dim) for m, d in dims.items()})
        self.embedding = nn.Parameter(torch.randn(len(dims), out_dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(out_dim) * 0.02)
        self.layers = nn.TransformerEncoder(
            self_attention_layer(out_dim, heads, hidden, dropout),
            layers,
            norm=nn.LayerNorm(out_dim),
            enable_nested_tensor=False,
        )
        for weight in self.layers.parameters():
            if weight.dim() > 1:  # torch copies one layer; let each start at its own values
                nn.init.xavier_uniform_(weight)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Attends over everything that is there."""
        x, closed = self.sequence(tokens)
        return Fused(self.layers(x, src_key_padding_mask=closed)[:, 0])

    def sequence(self, tokens: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
        """What the layers read, ``(B, 1 + T, D)``, and which of it is no key, ``(B, 1 + T)``."""
        parts = [self.projected(m, t) for m, t in tokens.items()]
        x = torch.cat([self.cls.expand(parts[0].shape[0], 1, -1), *parts], dim=1)
        closed = torch.cat([~t.mask for t in tokens.values()], dim=1)
        return x, F.pad(closed, (1, 0), value=False)

    def projected(self, modality: str, tokens: Tokens) -> Tensor:
        """A modality's tokens in the width of the layers, ``(B, T_m, D)``."""
        x: Tensor = self.project[modality](tokens.values)
        return x + self.embedding[self.modalities.index(modality)]
