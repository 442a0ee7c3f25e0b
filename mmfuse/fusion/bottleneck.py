"""Attention bottlenecks: modalities exchange through a few shared tokens only (MBT)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.attention import check_attention, self_attention_layer
from mmfuse.fusion.base import Fused, Fusion, mean_of_present
from mmfuse.tokens import Tokens


class BottleneckFusion(Fusion):
    """Each modality keeps its own transformer; all of them share a few bottleneck tokens.

    ::

        [b_m ; Z_m] = layer_m([b ; Z_m])        Z_m starts at [cls_m ; W_m x_m]
        b           = mean_{m present} b_m      after every layer
        vector      = mean_{m present} LayerNorm(Z_m)[cls_m]

    What one modality says reaches another through ``b`` at the next layer, so one layer
    exchanges nothing but the mean at the end. Cost grows with the square of each modality's
    own number of tokens, not of all together.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the layers and of the fused vector.
        bottlenecks: number of shared tokens.
        heads: attention heads; must divide ``out_dim``.
        layers: pre-norm transformer layers of each modality, 2 or more.
        hidden: width of the layers' perceptrons.
        dropout: rate inside the layers.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: ``heads`` does not divide ``out_dim``, ``layers`` is below 2, or
            ``bottlenecks`` below 1.

    Reference:
        Nagrani et al., "Attention Bottlenecks for Multimodal Fusion", NeurIPS 2021,
        arXiv:2107.00135, section 3.2.

    Departs from the paper: every layer exchanges, as the layers before the first exchange are
    the encoders here; the mean over modalities is taken of the states and not of the scores.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        bottlenecks: int = 4,
        heads: int = 4,
        layers: int = 2,
        hidden: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, out_dim)
        check_attention(type(self).__name__, out_dim, heads, layers)
        if layers < 2 or bottlenecks < 1:
            raise ConfigError(
                f"BottleneckFusion has layers={layers} and bottlenecks={bottlenecks}; modalities "
                "exchange only with 2 layers or more and 1 bottleneck token or more."
            )
        self.project = nn.ModuleDict({m: nn.Linear(d, out_dim) for m, d in dims.items()})
        self.cls = nn.Parameter(torch.randn(len(dims), out_dim) * 0.02)
        self.bottleneck = nn.Parameter(torch.randn(bottlenecks, out_dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({m: self_attention_layer(out_dim, heads, hidden, dropout) for m in dims})
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(out_dim)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Runs the modalities side by side, layer by layer."""
        size, shared = present.shape[0], len(self.bottleneck)
        states, closed = {}, {}
        for i, (m, t) in enumerate(tokens.items()):
            cls = self.cls[i].expand(size, 1, -1)
            states[m] = torch.cat([cls, self.project[m](t.values)], dim=1)
            closed[m] = F.pad(~t.mask, (shared + 1, 0), value=False)
        bottleneck = self.bottleneck.expand(size, -1, -1)
        for layer in self.layers:
            spoken = []
            for m, encode in layer.items():  # type: ignore[operator]
                joined = torch.cat([bottleneck, states[m]], dim=1)
                joined = encode(joined, src_key_padding_mask=closed[m])
                spoken.append(joined[:, :shared])
                states[m] = joined[:, shared:]
            bottleneck = mean_of_present(torch.stack(spoken, dim=1), present)
        cls = torch.stack([state[:, 0] for state in states.values()], dim=1)
        return Fused(mean_of_present(self.norm(cls), present))
