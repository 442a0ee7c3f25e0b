"""Encoder for sounds without a pretrained model: log-mel frames and a convolutional network."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.image import GROUP
from mmfuse_encoders.masked_norm import masked_group_norm
from mmfuse_encoders.tokens import sequence
from mmfuse_encoders.waveform import Waveforms

# Added to a power before its logarithm: 100 dB below a full-scale tone in a 25 ms window.
QUIET = 1e-6
# Added to the variance of a log-mel spectrogram, so that silence stays zero.
FLAT = 1e-3


class LogMelCNNEncoder(Encoder):
    """Convolutions over the log-mel spectrogram, trained from scratch.

    ``preprocess`` mixes each sound to one channel and resamples it. ``forward`` computes the
    rest on the device, so that a gradient reaches the samples::

        s = log(mel(|STFT(x)|^2) + 1e-6)
        z = Linear(mean_t CNN((s - mean(s)) / std(s)))

    where mean and deviation are one number a sound, so that loudness does not count, and the
    shape of the spectrum does. Layer i of the network has ``hidden * 2^i`` channels and two
    3 x 3 convolutions with GroupNorm and ReLU, the first of which halves frequency and time.
    The mean runs over time alone: frequency tells one sound from another. Padding changes
    nothing: every mean and variance is of real frames, and convolutions see zeros beyond.

    The logarithm is natural, as decibels differ by a factor that the normalisation removes.

    Args:
        spec: an audio modality.
        out_dim: width of the result.
        rate: samples a second that every sound is brought to; half of it is the highest
            frequency that is seen, and a low rate is quick.
        mels: number of mel bands.
        window: length of a frame in seconds, in a Hann window.
        hop: seconds from one frame to the next.
        hidden: channels of the first layer.
        layers: number of layers.
        dropout: rate before the readout.
        max_seconds: the most that is kept of a sound, from its beginning; a longer one is
            reported once and counted.
        frequency_mask: widest band of mels that is blanked in training, in each sound another.
        time_mask: longest share of a sound that is blanked in training, from 0 to 1.
        tokens: give the frames that are left as tokens, not their mean.
        frozen: no learning.

    Shape:
        preprocess: B sounds -> Tokens, values (B, T)
        forward: (B, T) or Tokens -> (B, out_dim), or Tokens (B, F, out_dim) with
        F = ceil(ceil(T / (rate * hop)) / 2^layers)

    Raises:
        ConfigError: sizes that cannot be, or more mels than the window can tell apart.
        DataError: from ``preprocess``, a row that is not a Sound.

    Reference: Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic
        Speech Recognition", Interspeech 2019, arXiv:1904.08779, for the two masks.

    Departs from the paper: one mask of each kind and no time warping.
    """

    kinds = frozenset({"audio"})
    default_for = frozenset({"audio"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        rate: int = 16_000,
        mels: int = 64,
        window: float = 0.025,
        hop: float = 0.01,
        hidden: int = 32,
        layers: int = 3,
        dropout: float = 0.0,
        max_seconds: float = 10.0,
        frequency_mask: int = 0,
        time_mask: float = 0.0,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        if not (0 <= frequency_mask <= mels and 0 <= time_mask <= 1):
            raise ConfigError(
                f"LogMelCNNEncoder: frequency_mask {frequency_mask}, time_mask {time_mask}. Take "
                f"0 to {mels} mels, and a share from 0 to 1."
            )
        self.tokens, self.frequency_mask, self.time_mask = tokens, frequency_mask, time_mask
        self.waveforms = Waveforms(rate, max_seconds)
        self.log_mel = LogMel(rate, mels, window, hop)
        widths = [1, *[hidden * 2**i for i in range(layers)]]
        self.layers = nn.ModuleList(
            _Layer(narrow, wide) for narrow, wide in itertools.pairwise(widths)
        )
        bands = -(-mels // 2**layers)
        self.readout = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1] * bands, out_dim))

    def preprocess(self, raw: Any) -> Tokens:
        """Samples of each sound, padded to the longest."""
        return self.waveforms(raw)

    def preprocessing(self) -> dict[str, Any]:
        """The rate and the longest sound."""
        return self.waveforms.in_words()

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Encodes the rows."""
        frames = _standardised(self.log_mel(x))
        if self.training:
            frames = self._blanked(frames)
        maps = frames.values.transpose(1, 2).unsqueeze(1).to(next(self.parameters()).dtype)
        mask = frames.mask
        for layer in self.layers:
            maps, mask = layer(maps, mask)
        steps = Tokens(maps.flatten(1, 2).transpose(1, 2), mask)
        if not self.tokens:
            return self.readout(steps.pooled())
        return Tokens(self.readout(steps.values), mask)

    def _blanked(self, frames: Tokens) -> Tokens:
        """The frames with one band of mels and one stretch of time at zero, their mean."""
        values, length = frames.values, frames.mask.sum(dim=1)
        if self.frequency_mask:
            mels = torch.full_like(length, values.shape[2])
            band = _stretch(mels, torch.full_like(length, self.frequency_mask), values.shape[2])
            values = values.masked_fill(band.unsqueeze(1), 0)
        if self.time_mask:
            longest = (length * self.time_mask).long()
            values = values.masked_fill(_stretch(length, longest, values.shape[1]).unsqueeze(2), 0)
        return Tokens(values, frames.mask)


class LogMel(nn.Module):
    """Logarithm of the power in mel bands, a frame at each hop.

    Frame t has its middle at sample ``t * hop``, and is real if that sample is; what a window
    sees beyond the ends of a sound is silence.

    Args:
        rate: samples a second.
        mels: number of bands, between 0 and half the rate.
        window: seconds.
        hop: seconds.

    Shape:
        (B, T) or Tokens -> Tokens (B, ceil(T / (rate * hop)), mels), float32 at least

    Raises:
        ConfigError: a window or a hop of no sample, or a band without a frequency in it.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, rate: int, mels: int, window: float, hop: float) -> None:
        from torchaudio.functional import melscale_fbanks

        super().__init__()
        length, self.hop = round(rate * window), round(rate * hop)
        if min(length, self.hop, mels) < 1:
            raise ConfigError(
                f"A log-mel spectrogram of {mels} mels with a window of {length} and a hop of "
                f"{self.hop} samples cannot be. Lengthen the window or the hop, in seconds."
            )
        self.points = 1 << (length - 1).bit_length()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of empty bands, which are refused
            bank = melscale_fbanks(self.points // 2 + 1, 0.0, rate / 2, mels, rate)
        if not bank.any(dim=0).all():
            raise ConfigError(
                f"A window of {window} s at {rate} samples a second cannot tell {mels} mels "
                "apart. Take fewer mels, or a longer window."
            )
        self.register_buffer("window", torch.hann_window(length), persistent=False)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, x: Tensor | Tokens) -> Tokens:
        """The frames of each row."""
        from torchaudio.functional import spectrogram

        given = sequence(x)
        samples = given.values.to(torch.promote_types(given.values.dtype, torch.float32))
        mask = given.mask[:, :: self.hop]
        # A power can exceed what half precision holds.
        with torch.autocast(samples.device.type, enabled=False):
            power = spectrogram(
                samples,
                pad=0,
                window=self.window.to(samples.dtype),
                n_fft=self.points,
                hop_length=self.hop,
                win_length=len(self.window),
                power=2.0,
                normalized=False,
                pad_mode="constant",
            )
            mel = power.transpose(1, 2)[:, : mask.shape[1]] @ self.bank.to(samples.dtype)
        return Tokens((mel + QUIET).log(), mask)


class _Layer(nn.Module):
    """Two convolutions with GroupNorm and ReLU; padding is zero before and after."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        groups = 1 if wide % GROUP else wide // GROUP
        self.halve = nn.Conv2d(width, wide, 3, 2, padding=1, bias=False)
        self.halve_norm = nn.GroupNorm(groups, wide)
        self.refine = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(groups, wide)

    def forward(self, maps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # Step i of the result has its middle at step 2 i, and is real if that one is.
        mask = mask[:, ::2]
        padding = ~mask[:, None, None]
        maps = masked_group_norm(self.halve_norm, self.halve(maps), mask)
        maps = maps.relu().masked_fill(padding, 0)
        maps = masked_group_norm(self.refine_norm, self.refine(maps), mask)
        return maps.relu().masked_fill(padding, 0), mask


def _standardised(frames: Tokens) -> Tokens:
    """Mean zero and deviation one over the real frames of each row; padding zero."""
    padding = ~frames.mask.unsqueeze(-1)
    count = frames.mask.sum(dim=1).view(-1, 1, 1) * frames.values.shape[2]
    mean = frames.values.masked_fill(padding, 0).sum((1, 2), keepdim=True) / count
    centred = (frames.values - mean).masked_fill(padding, 0)
    variance = centred.square().sum((1, 2), keepdim=True) / count
    return Tokens(centred * (variance + FLAT).rsqrt(), frames.mask)


def _stretch(size: Tensor, longest: Tensor, total: int) -> Tensor:
    """A random stretch of at most ``longest`` within the first ``size`` of ``total`` places."""
    width = (torch.rand_like(size, dtype=torch.float32) * (longest + 1)).long()
    start = (torch.rand_like(size, dtype=torch.float32) * (size - width + 1)).long().unsqueeze(1)
    place = torch.arange(total, device=size.device)
    return (place >= start) & (place < start + width.unsqueeze(1))
