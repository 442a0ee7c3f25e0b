"""Cross-modal attention: each modality reads each of the others (MulT)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.fusion.attention import check_attention, padding, self_attention_layer
from mmfuse.fusion.base import Fused, Fusion, mean_of_present
from mmfuse.tokens import Tokens


class CrossModalAttentionFusion(Fusion):
    """Every modality attends to every other, each ordered pair with weights of its own.

    ::

        Z_{t<-s} = layers of: Z + Attention(Z, z_s), then Z + MLP(Z),  starting at z_t
        H_t      = SelfAttention(mean_{s present, s != t} Z_{t<-s})
        vector   = mean_{t present} W_t LayerNorm_t(mean over tokens of H_t)

    where ``z_m`` are the modality's tokens, projected. Sources that a row lacks are skipped
    for that row; a modality that is alone keeps ``z_t``. Cost: M (M - 1) blocks.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the blocks and of the fused vector.
        heads: attention heads; must divide ``out_dim``.
        layers: cross-attention layers in each ordered pair.
        hidden: width of the layers' perceptrons.
        dropout: rate inside the layers.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: ``heads`` does not divide ``out_dim``, or ``layers`` is below 1.

    Reference:
        Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences",
        ACL 2019, arXiv:1906.00295, section 3.

    Departs from the paper: means over sources and targets in place of concatenation, so that
    the scale is the same whoever is absent; the mean token in place of the last one; the
    positions of tokens are the encoder's affair.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        heads: int = 4,
        layers: int = 1,
        hidden: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, out_dim)
        check_attention(type(self).__name__, out_dim, heads, layers)
        shape = (out_dim, heads, hidden, dropout)
        self.project = nn.ModuleDict({m: nn.Linear(d, out_dim) for m, d in dims.items()})
        self.cross = nn.ModuleDict(
            {
                t: nn.ModuleDict(
                    {
                        s: nn.ModuleList(CrossAttentionLayer(*shape) for _ in range(layers))
                        for s in dims
                        if s != t
                    }
                )
                for t in dims
            }
        )
        self.refine = nn.ModuleDict({m: self_attention_layer(*shape) for m in dims})
        self.read = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(out_dim), nn.Linear(out_dim, out_dim)) for m in dims}
        )

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Crosses all pairs, then reads out each target."""
        closed = {m: padding(t.mask) for m, t in tokens.items()}
        projected = {m: self.project[m](t.values) for m, t in tokens.items()}
        vectors = []
        for target in self.modalities:
            state = projected[target]
            if len(self.modalities) > 1:
                state = self._cross(target, projected, closed, present)
            state = self.refine[target](state, src_key_padding_mask=closed[target])
            vectors.append(self.read[target](Tokens(state, tokens[target].mask).pooled()))
        return Fused(mean_of_present(torch.stack(vectors, dim=1), present))

    def _cross(
        self, target: str, projected: dict[str, Tensor], closed: dict[str, Tensor], present: Tensor
    ) -> Tensor:
        views = []
        for source, layers in self.cross[target].items():  # type: ignore[operator]
            state = projected[target]
            for layer in layers:
                state = layer(state, projected[source], closed[source])
            views.append(state)
        columns = zip(self.modalities, present.unbind(dim=1), strict=True)
        sources = torch.stack([column for m, column in columns if m != target], dim=1)
        alone = ~sources.any(dim=1).view(-1, 1, 1)
        crossed = mean_of_present(torch.stack(views, dim=1), sources)
        return torch.where(alone, projected[target], crossed)


class CrossAttentionLayer(nn.Module):
    """One pre-norm layer in which a target sequence reads a source sequence.

    Args:
        width: width of both sequences.
        heads: attention heads.
        hidden: width of the perceptron.
        dropout: rate of attention and of both branches.

    Shape:
        target (B, T, width), source (B, S, width), closed (B, S) -> (B, T, width)
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm_target = nn.LayerNorm(width)
        self.norm_source = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, target: Tensor, source: Tensor, closed: Tensor) -> Tensor:
        """``closed`` is True where a source token must not be read."""
        query, keys = self.norm_target(target), self.norm_source(source)
        found, _ = self.attention(query, keys, keys, key_padding_mask=closed, need_weights=False)
        target = target + self.dropout(found)
        return target + self.mlp(target)
