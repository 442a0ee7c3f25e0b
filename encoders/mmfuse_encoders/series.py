"""Encoders for series, of one length or of many: a convolutional and a recurrent network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.tokens import sequence


class SeriesCNNEncoder(Encoder):
    """Convolutions over time with a mean over the real steps.

    Each layer convolves, normalises every step over its channels and applies ReLU; each but
    the first halves the number of steps. Padding is set to zero before every layer, as
    convolutions pad anyway, so the length that a row is padded to changes nothing.

    Args:
        spec: a series modality, its number of steps fixed or None.
        out_dim: width of the result.
        hidden: channels of every layer.
        layers: number of layers.
        kernel: steps that a layer sees at once, an odd number.
        dropout: rate after every layer.
        tokens: give the steps that are left as tokens, not their mean.
        frozen: no learning.

    Shape:
        (B, T, C) or Tokens -> (B, out_dim), or Tokens (B, ceil(T / 2^(layers - 1)), out_dim)

    Raises:
        ConfigError: ``kernel`` is even.

    Reference: Wang et al., "Time Series Classification from Scratch with Deep Neural
        Networks: A Strong Baseline", IJCNN 2017, arXiv:1611.06455 (the fully convolutional
        network).

    Departs from the paper: strides, so that long series cost less and each step sees more;
    LayerNorm over channels for BatchNorm, which mixes rows and padding and cannot train on
    one row.
    """

    kinds = frozenset({"series"})
    default_for = frozenset({"series"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 64,
        layers: int = 3,
        kernel: int = 5,
        dropout: float = 0.0,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        if kernel % 2 == 0:
            raise ConfigError(
                f"SeriesCNNEncoder: kernel {kernel} is even. Take an odd one, which has a middle."
            )
        self.tokens = tokens
        widths = [self.spec.width, *[hidden] * layers]
        self.layers = nn.ModuleList(
            _ConvStep(widths[i], hidden, kernel, 2 if i else 1, dropout) for i in range(layers)
        )
        self.readout = nn.Linear(widths[-1], out_dim)

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Encodes the rows."""
        steps = sequence(x)
        for layer in self.layers:
            steps = layer(steps)
        if not self.tokens:
            return self.readout(steps.pooled())
        return Tokens(self.readout(steps.values), steps.mask)


class _ConvStep(nn.Module):
    """Convolution, LayerNorm over channels, ReLU and dropout; padding stays zero."""

    def __init__(self, width: int, hidden: int, kernel: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(width, hidden, kernel, stride, padding=kernel // 2)
        self.after = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, steps: Tokens) -> Tokens:
        found = self.conv(steps.values.transpose(1, 2)).transpose(1, 2)
        # Step i of the result has its middle at step i * stride, and is real if that one is.
        return sequence(Tokens(self.after(found), steps.mask[:, :: self.stride]))


class GRUEncoder(Encoder):
    """Gated recurrent network, read out at the last real step.

    It reads forwards only, so padding, which stands at the end, comes after every state
    that is read and cannot change one.

    Args:
        spec: a series modality, its number of steps fixed or None.
        out_dim: width of the result.
        hidden: width of the state.
        layers: recurrent layers on top of one another.
        dropout: rate after every recurrent layer.
        tokens: give every step's state as a token, not the last one.
        frozen: no learning.

    Shape:
        (B, T, C) or Tokens -> (B, out_dim), or Tokens (B, T, out_dim)

    Reference: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
        Statistical Machine Translation", EMNLP 2014, arXiv:1406.1078.

    Departs from the paper: the reset gate acts after the recurrent map, as in cuDNN.
    """

    kinds = frozenset({"series"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.tokens = tokens
        between = dropout if layers > 1 else 0.0  # nn.GRU has none after its last layer
        self.gru = nn.GRU(self.spec.width, hidden, layers, batch_first=True, dropout=between)
        self.readout = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, out_dim))

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Encodes the rows."""
        steps = sequence(x)
        states, _ = self.gru(steps.values)
        if self.tokens:
            return Tokens(self.readout(states), steps.mask)
        last = steps.mask.sum(dim=1).sub(1).clamp(min=0)
        return self.readout(states.take_along_dim(last[:, None, None], dim=1).squeeze(1))
