"""LegoBlock: latents in the frequency domain that read one modality's tokens."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.attention import padding
from mmfuse.fusion.lego.spectrum import Spectrum, normalised, token_spectrum
from mmfuse.tokens import Tokens


class LegoBlock(nn.Module):
    """Layers of cross attention, from latents in the frequency domain to a modality's tokens.

    ::

        x_r = Re FFT(x)                               along the tokens that are there
        z   = FFT(l / |l|)                            along the channels of the latents l
        z_r = z_r + CrossAttention(Norm(z_r), Norm(x_r))
        z_r = z_r + SNN(Norm(z_r))
        l   = IFFT(z_r + i z_i)                       and on to the next layer

    The imaginary part is scaled along and never written to. ``SNN`` is a self-normalising
    perceptron with one hidden layer. How many latents there are is up to the caller.

    Args:
        dim: width of the tokens.
        width: width of the latents.
        layers: cross attentions, each with weights of its own.
        heads: attention heads.
        head_dim: width of a head.
        hidden: width of the perceptron's hidden layer.
        dropout: rate on the attention's weights and in the perceptron.

    Shape:
        Spectrum of (B or 1, C, width), tokens (B, T, dim) -> Spectrum of (B, C, width)

    Raises:
        ConfigError: a count or a width below 1.

    Reference:
        Hemker et al., "Multimodal Lego: Model Merging and Fine-Tuning Across Topologies and
        Modalities in Biomedicine", ICLR 2025, arXiv:2405.19950, section 3.

    Departs from the authors' code: the encoder runs once, not once a layer; padding is no
    part of the tokens' transform; the perceptron has no gates. Two transforms that cancel
    between layers are not computed; see ``normalised``.
    """

    def __init__(
        self,
        dim: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 8,
        head_dim: int = 64,
        hidden: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(dim, width, layers, heads, head_dim, hidden) < 1:
            raise ConfigError(
                f"A Lego block needs counts and widths of 1 or more; found dim={dim}, "
                f"width={width}, layers={layers}, heads={heads}, head_dim={head_dim}, "
                f"hidden={hidden}."
            )
        self.layers = nn.ModuleList(
            _LegoLayer(dim, width, heads, head_dim, hidden, dropout) for _ in range(layers)
        )

    def forward(self, z: Spectrum, tokens: Tokens) -> Spectrum:
        """Passes the latents through every layer."""
        context, closed = self.context(tokens)
        for layer in self.layers:
            z = layer(z, context, closed)
        return z

    @staticmethod
    def context(tokens: Tokens) -> tuple[Tensor, Tensor]:
        """What every layer reads: the tokens' spectrum, and which of its places are closed."""
        return token_spectrum(tokens.values, tokens.mask), padding(tokens.mask)


class _LegoLayer(nn.Module):
    """One cross attention and one perceptron."""

    def __init__(
        self, dim: int, width: int, heads: int, head_dim: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm, self.norm_context = nn.LayerNorm(width), nn.LayerNorm(dim)
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width)
        self.snn = nn.Sequential(
            nn.LayerNorm(width),
            _self_normalising(width, hidden),
            nn.SELU(),
            nn.AlphaDropout(dropout),
            _self_normalising(hidden, width),
        )

    def forward(self, z: Spectrum, context: Tensor, closed: Tensor) -> Spectrum:
        z = normalised(z)
        real = z.real + self._attend(z.real, context, closed)
        real = real + self.snn(real)
        return Spectrum(real, z.imag.expand_as(real))

    def _attend(self, real: Tensor, context: Tensor, closed: Tensor) -> Tensor:
        key, value = self.key_value(self.norm_context(context)).chunk(2, dim=-1)
        query = self.query(self.norm(real)).expand(context.shape[0], -1, -1)
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        read = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=~closed[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(read.transpose(1, 2).flatten(2))


def _self_normalising(width: int, out_dim: int) -> nn.Linear:
    """A linear map that keeps mean 0 and variance 1 under SELU (Klambauer et al., 2017)."""
    linear = nn.Linear(width, out_dim)
    nn.init.normal_(linear.weight, std=1 / math.sqrt(width))
    nn.init.zeros_(linear.bias)
    return linear
