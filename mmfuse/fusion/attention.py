"""What the attention methods share: checked pre-norm layers, masks that never close a row."""

from __future__ import annotations

from torch import Tensor, nn

from mmfuse.errors import ConfigError


def check_attention(fusion: str, width: int, heads: int, layers: int) -> None:
    """Refuses head and layer counts that cannot be built.

    Raises:
        ConfigError: heads that do not divide the width, or no layer.
    """
    if heads < 1 or width % heads:
        raise ConfigError(
            f"{fusion}: heads={heads} must divide out_dim={width}. Change one of the two."
        )
    if layers < 1:
        raise ConfigError(f"{fusion}: layers is {layers}; expected 1 or more.")


def self_attention_layer(
    width: int, heads: int, hidden: int, dropout: float
) -> nn.TransformerEncoderLayer:
    """One pre-norm transformer layer that reads ``(B, T, width)``."""
    return nn.TransformerEncoderLayer(
        width, heads, hidden, dropout, activation="gelu", batch_first=True, norm_first=True
    )


def padding(mask: Tensor) -> Tensor:
    """Turns a mask of real tokens into torch's key padding mask.

    A softmax over no key at all is NaN, and torch's kernels differ in whether they guard
    against it. A row without a real token therefore keeps its blank ones open; the caller
    drops what the row gets.
    """
    return ~mask & mask.any(dim=1, keepdim=True)
