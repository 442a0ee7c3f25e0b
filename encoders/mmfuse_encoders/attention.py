"""What encoders that attend share: checked pre-norm layers, key masks, sinusoidal positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError


def check_heads(encoder: str, width: int, heads: int, name: str = "hidden") -> None:
    """Refuses a number of heads that cannot be built.

    Raises:
        ConfigError: ``heads`` does not divide the width, which the encoder calls ``name``.
    """
    if heads < 1 or width % heads:
        raise ConfigError(
            f"{encoder}: {name} {width} is no multiple of {heads} heads. Change one of them."
        )


def transformer(width: int, heads: int, layers: int, dropout: float) -> nn.TransformerEncoder:
    """Pre-norm transformer layers over ``(B, T, width)`` with a LayerNorm after the last."""
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    made = nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
    )
    for weight in made.parameters():
        if weight.dim() > 1:  # torch copies one layer; let each start at its own values
            nn.init.xavier_uniform_(weight)
    return made


def closed(mask: Tensor) -> Tensor:
    """Turns a mask of real tokens into torch's key padding mask.

    A softmax over no key at all is NaN; a row without a real token keeps its blank ones open.
    """
    return ~mask & mask.any(dim=1, keepdim=True)


def sinusoids(position: Tensor, width: int) -> Tensor:
    """Sines and cosines of positions, at wavelengths from 2 pi up to 10000 * 2 pi.

    Reference: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762,
        section 3.5; here all sines stand before all cosines.

    Shape:
        (...) -> (..., width)
    """
    half = (width + 1) // 2
    rate = torch.arange(half, device=position.device, dtype=position.dtype) / max(half - 1, 1)
    angle = position.unsqueeze(-1) * 10_000.0**-rate
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :width]
