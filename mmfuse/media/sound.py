"""Sounds: files of any format that libsndfile reads -> samples and their rate."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from mmfuse.errors import DataError
from mmfuse.media.cut import is_cut
from mmfuse.media.source import Source, content_of, name_of

#: Rates, in Hz, that a sound may have; a header with another is damaged.
RATES = (1_000, 768_000)


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of one recording.

    Args:
        samples: ``(channels, length)`` float32 from -1 to 1.
        rate: samples a second.

    Raises:
        DataError: no sample, samples that are not finite, or a rate outside ``RATES``.
    """

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or not self.samples.size:
            raise DataError(
                f"A sound has samples of shape {self.samples.shape}; expected (channels, length) "
                "with at least one sample."
            )
        if not RATES[0] <= self.rate <= RATES[1]:
            raise DataError(
                f"A sound has {self.rate} samples a second; expected {RATES[0]} to {RATES[1]}."
            )
        if not np.isfinite(self.samples).all():
            raise DataError("A sound holds NaN or infinity. Mend it, or mark the row absent.")

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples.shape[1] / self.rate


class _Content(io.BytesIO):
    """A file in memory where a damaged header cannot ask for a place before its start."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}
        return super().seek(max(base[whence] + offset, 0))


def decode_sound(source: Source) -> Sound:
    """A sound with all its channels, at its own rate.

    Of AIFF, AU and other formats that do not tell where they should end, a cut file gives what
    is left.

    Args:
        source: the file's bytes or path: WAV, FLAC, Ogg Vorbis, MP3 and others.

    Raises:
        DataError: it is no sound, is cut short, or holds no sample.
    """
    import soundfile

    content = content_of(source)
    try:
        with soundfile.SoundFile(_Content(content)) as file:
            promised = file.frames
            samples = file.read(dtype="float32", always_2d=True)
            sound = Sound(np.ascontiguousarray(samples.T), file.samplerate)
    except DataError as error:
        raise DataError(f"{name_of(source)}: {error}") from error
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        reason = str(getattr(error, "error_string", error)).rstrip(".")  # without a place in memory
        raise DataError(
            f"{name_of(source)} cannot be decoded as a sound: {reason}. Replace it, or mark the "
            "row absent."
        ) from error
    if sound.samples.shape[1] < promised or is_cut(content):
        raise DataError(
            f"{name_of(source)} is cut short: {sound.samples.shape[1]} samples are left of it. "
            "Replace it, or mark the row absent."
        )
    return sound
