"""Sound corruptions: noise, hum, clipping, a quieter recording, gaps, a muffled one, its speed."""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from mmfuse.media import Sound
from mmfuse.robustness.corruptions.base import Corruption
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured

Samples = np.ndarray

#: Slots that a sound's length is cut into, of which gaps take some.
SLOTS = 20
_MAINS, _HARMONICS = 50, 4


class SoundCorruption(Corruption):
    """Base of sound corruptions: a subclass writes ``samples``.

    Nothing is clipped to -1 and 1 in passing, and no sound that was heard falls silent.

    Args:
        levels: what the severities 1 to 5 mean; None for the class's defaults.

    Raises:
        ConfigError: levels that do not fit.
    """

    kinds = frozenset({"audio"})

    @abstractmethod
    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """One recording, ``(channels, length)`` float32; never written to."""

    def corrupt(self, raw: Any, level: float, draws: Draws, measured: Measured | None) -> Any:
        """Each row by itself."""
        found = []
        for i, sound in enumerate(raw):
            x = self.samples(sound.samples, sound.rate, level, draws.generator(i))
            found.append(Sound(np.ascontiguousarray(x, dtype=np.float32), sound.rate))
        return found


class WhiteNoise(SoundCorruption):
    """White noise at a ratio to the recording's own power; a silent one stays silent.

    Args:
        levels: the ratio of signal to noise for the severities 1 to 5, in decibels.

    Raises:
        ConfigError: levels that do not fit.

    torchaudio's ``add_noise`` gives NaN for silence, which is why it is not called.
    """

    defaults = (20, 15, 10, 5, 0)
    unit = "signal to noise, dB"
    limits = (-40, 80)

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Adds the noise."""
        return x + _at_ratio(x, draw.standard_normal(x.shape, np.float32), level)


class Hum(SoundCorruption):
    """The hum of mains, 50 Hz with its next three harmonics, at a ratio to the recording's power.

    Args:
        levels: the ratio of signal to hum for the severities 1 to 5, in decibels.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (20, 15, 10, 5, 0)
    unit = "signal to hum, dB"
    limits = (-40, 80)

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Adds the hum, the same to every channel."""
        seconds = np.arange(x.shape[1]) / rate
        phases = draw.random(_HARMONICS)
        waves = [
            np.sin(2 * np.pi * (_MAINS * k * seconds + phase)) / k
            for k, phase in enumerate(phases, start=1)
        ]
        hum = np.broadcast_to(np.sum(waves, axis=0, dtype=np.float32), x.shape)
        return x + _at_ratio(x, hum, level)


class Clipping(SoundCorruption):
    """Samples cut off above a share of the recording's peak, as of a level set too high.

    Args:
        levels: that share for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.5, 0.3, 0.15, 0.08, 0.04)
    unit = "share of the peak that is left"
    limits = (1e-3, 1.0)

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Cuts both ends off."""
        limit = level * np.abs(x).max()
        return np.clip(x, -limit, limit)


class Gain(SoundCorruption):
    """The whole recording quieter.

    Args:
        levels: the gain for the severities 1 to 5, in decibels.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (-6, -12, -18, -24, -30)
    unit = "gain, dB"
    limits = (-60, 0)

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Scales it."""
        return x * np.float32(10 ** (level / 20))


class SoundGaps(SoundCorruption):
    """Silence in some of the recording's twenty parts, as of packets that were lost.

    The part that holds the loudest sample stays, so that no recording falls silent.

    Args:
        levels: the share of the parts for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the recording's parts"

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Silences the parts."""
        length = x.shape[1]
        slot = np.arange(length) * SLOTS // length
        order = draw.permutation(SLOTS)
        order = order[order != slot[int(np.abs(x).max(axis=0).argmax())]]
        lost = np.isin(slot, order[: round(level * SLOTS)])
        return np.where(lost, np.float32(0), x)


class LowPass(SoundCorruption):
    """High frequencies lost, as behind a wall or on a poor line.

    The response is that of a Butterworth filter of the fourth order, without its phase.

    Args:
        levels: the cut-off for the severities 1 to 5, as a share of half the sampling rate.

    Raises:
        ConfigError: levels that do not fit.

    torchaudio's filters clamp what they filter to -1 and 1, which is why they are not called.
    """

    defaults = (0.5, 0.35, 0.25, 0.15, 0.1)
    unit = "cut-off, as a share of half the sampling rate"
    limits = (1e-3, 1.0)

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Filters each channel."""
        from scipy.fft import irfft, rfft, rfftfreq

        # The end is followed by its mirror image, as a transform joins the end to the start.
        length = x.shape[1]
        spectrum = rfft(np.concatenate([x, x[:, ::-1]], axis=1), axis=1)
        share = rfftfreq(2 * length) * 2
        spectrum *= (1 / np.sqrt(1 + (share / level) ** 8)).astype(np.float32)
        return np.asarray(irfft(spectrum, 2 * length, axis=1))[:, :length]


class Speed(SoundCorruption):
    """Faster and higher, or slower and lower, by band-limited resampling.

    Args:
        levels: the factor for the severities 1 to 5; a row is played that much faster or slower.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (1.05, 1.1, 1.2, 1.35, 1.5)
    unit = "factor, faster or slower"
    limits = (1.0, 4.0)

    def samples(self, x: Samples, rate: int, level: float, draw: np.random.Generator) -> Samples:
        """Resamples it, and calls the rate what it was."""
        from torchaudio.functional import resample

        share = Fraction(level).limit_denominator(100)
        up, down = share.numerator, share.denominator
        if draw.random() < 0.5:
            up, down = down, up
        return np.asarray(resample(torch.from_numpy(np.array(x)), up, down).numpy())


def _at_ratio(x: Samples, noise: Samples, decibels: float) -> Samples:
    """Noise scaled so that the power of ``x`` is so many decibels above its own."""
    power = np.mean(np.square(noise, dtype=np.float64))
    wanted = np.mean(np.square(x, dtype=np.float64)) * 10 ** (-decibels / 10)
    return noise * np.float32(np.sqrt(wanted / power)) if power else noise
