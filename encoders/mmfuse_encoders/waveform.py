"""Waveforms: sounds of any rate, length and number of channels -> one padded batch of samples."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Sound
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

# A kernel holds about the product of both sides of the ratio. Every pair of usual rates has a
# smaller product than this; others are approximated, by less than one part in a thousand.
LARGEST_PRODUCT = 10**6

_log = logging.getLogger(__name__)


class Waveforms:
    """Mixes sounds to one channel, brings them to one rate and pads them to one length.

    A sound of several channels becomes their mean. One longer than ``max_seconds`` keeps its
    beginning: ``cropped`` counts such sounds of this process, and the first one is logged as a
    warning.

    Args:
        rate: samples a second of the result.
        max_seconds: the most that is kept of a sound.

    Shape:
        B sounds -> Tokens, values (B, T) float32 with zeros as padding

    Raises:
        ConfigError: a rate or a length that is not positive, or less than one sample in all.
        DataError: a row that is not a Sound.
    """

    def __init__(self, rate: int, max_seconds: float) -> None:
        if rate < 1 or not rate * max_seconds >= 1:
            raise ConfigError(
                f"rate {rate} and max_seconds {max_seconds} leave no sample of a sound. Give a "
                "positive rate, such as 16000, and a length in seconds, such as 10."
            )
        self.rate, self.max_seconds = rate, max_seconds
        self.cropped = 0

    def __call__(self, sounds: Sequence[Any]) -> Tokens:
        """The sounds as one batch."""
        found = [self._samples(sound) for sound in sounds]
        mask = nn.utils.rnn.pad_sequence(
            [torch.ones(len(samples), dtype=torch.bool) for samples in found], batch_first=True
        )
        return Tokens(nn.utils.rnn.pad_sequence(found, batch_first=True), mask)

    def in_words(self) -> dict[str, Any]:
        """What is done to a sound, in plain data."""
        return {"channels": "mean", "rate": self.rate, "max_seconds": self.max_seconds}

    def _samples(self, sound: Any) -> Tensor:
        if not isinstance(sound, Sound):
            raise DataError(
                f"An audio encoder takes sounds, found {type(sound).__name__}: {sound!r:.60}. "
                "Declare the column as audio, or wrap the samples in mmfuse.media.Sound."
            )
        limit = max(1, int(sound.rate * self.max_seconds))
        if sound.samples.shape[1] > limit:
            self._report(sound)
        mono = torch.from_numpy(sound.samples[:, :limit].mean(axis=0, dtype="float32"))
        up, down = ratio(self.rate, sound.rate)
        if up == down:
            return mono
        return resampler(up, down)(mono)[: int(self.rate * self.max_seconds)]

    def _report(self, sound: Sound) -> None:
        if not self.cropped:
            _log.warning(
                "A sound of %.4g s is cut to its first %g s, and so is every longer one; this is "
                "said once, and waveforms.cropped counts them. Raise max_seconds where the encoder "
                "has it, or make several rows of a long sound.",
                sound.seconds,
                self.max_seconds,
            )
        self.cropped += 1


def ratio(rate: int, own: int) -> tuple[int, int]:
    """The new rate over a sound's own in small whole numbers, such as (160, 441)."""
    limit = int((LARGEST_PRODUCT * own / rate) ** 0.5)
    small = Fraction(rate, own).limit_denominator(limit)
    return small.numerator, small.denominator


@functools.lru_cache(maxsize=16)
def resampler(up: int, down: int) -> Resample:
    """Band-limited resampling by ``up / down``; its kernel is made once."""
    from torchaudio.transforms import Resample

    return Resample(down, up)
