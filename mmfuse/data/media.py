"""MediaColumn: pictures, sounds and videos in Arrow, decoded a row at a time."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmfuse.errors import DataError
from mmfuse.media import Sound, Video, decode_image, decode_sound
from mmfuse.media.source import Source, name_of, read_bytes
from mmfuse.spec import ModalitySpec

#: Kinds whose rows may be files, or what a file holds.
MEDIA = ("image", "audio", "video")


def is_paths(kind: pa.DataType) -> bool:
    """Whether cells are strings: texts, or paths of files."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether cells are the content of files."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def has_fields(kind: pa.DataType, *names: str) -> bool:
    """Whether cells are structs with these fields."""
    return pa.types.is_struct(kind) and all(kind.get_field_index(n) >= 0 for n in names)


class MediaColumn:
    """Pictures, sounds or videos, read from their files (or from Arrow) when asked for.

    Args:
        column: paths; the content of files; structs of ``bytes`` and ``path``, one of which
            may be null; or, for sounds, structs of ``samples`` (a list of numbers, or a list
            of such lists, one a channel) and ``rate``. A null, and an empty path, is an
            absence.
        spec: its kind says how a row is decoded, its rate which sounds are taken.
        root: the folder that paths start from.
    """

    def __init__(self, column: pa.ChunkedArray, spec: ModalitySpec, root: Path = Path()) -> None:
        self.spec, self.root = spec, root
        self._rows = len(column)
        self._paths = self._bytes = self._samples = self._rates = None
        if is_paths(column.type):
            self._paths = column
        elif is_bytes(column.type):
            self._bytes = column
        elif has_fields(column.type, "samples", "rate"):
            self._samples, self._rates = (pc.struct_field(column, f) for f in ("samples", "rate"))
        elif has_fields(column.type, "bytes", "path"):
            self._bytes, self._paths = (pc.struct_field(column, f) for f in ("bytes", "path"))

    @cached_property
    def present(self) -> np.ndarray:
        """Which rows have something to read."""
        found = np.zeros(self._rows, dtype=bool)
        for part in (self._bytes, self._samples):
            if part is not None:
                found |= np.asarray(part.is_valid(), dtype=bool)
        if self._paths is not None:
            found |= _lengths(self._paths) > 0
        return found

    def __len__(self) -> int:
        return self._rows

    def take(self, rows: np.ndarray) -> list[Any]:
        """Each row's picture, sound or video, None where absent.

        Raises:
            DataError: a row cannot be decoded.
        """
        return [self.read(int(r)) if self.present[r] else None for r in rows]

    def read(self, row: int) -> Any:
        """A present row's picture, sound or video.

        Raises:
            DataError: it cannot be decoded, or a sound has another rate than ``spec`` says.
        """
        if self._samples is not None:
            return self._at_rate(self._sound(row), "the sound")
        source = self._source(row)
        if self.spec.kind == "image":
            return decode_image(source)
        if self.spec.kind == "video":
            return Video(source)
        return self._at_rate(decode_sound(source), name_of(source))

    def _source(self, row: int) -> Source:
        content = None if self._bytes is None else self._bytes[row].as_py()
        if content is not None:
            return content
        assert self._paths is not None
        return self.root / self._paths[row].as_py()

    def _sound(self, row: int) -> Sound:
        assert self._samples is not None
        assert self._rates is not None
        channels, rate = self._channels(row), self._rates[row].as_py()
        if len({len(c) for c in channels}) > 1:
            raise DataError("The sound has channels of unequal length. Mend the row.")
        samples = np.stack([_amplitudes(c) for c in channels]) if channels else np.zeros((0, 0))
        return Sound(samples.astype(np.float32), 0 if rate is None else rate)

    def _channels(self, row: int) -> list[pa.Array]:
        assert self._samples is not None
        values = self._samples[row].values
        return [c.values for c in values] if pa.types.is_nested(values.type) else [values]

    def _at_rate(self, sound: Sound, name: str) -> Sound:
        if self.spec.rate and sound.rate != self.spec.rate:
            raise DataError(
                f"{name} has {sound.rate} samples a second, expected {self.spec.rate}. Resample "
                "it, or mark the row absent."
            )
        return sound

    # What set-up asks, which decodes nothing.

    @cached_property
    def sizes(self) -> np.ndarray:
        """Each row's size, as it is stored: bytes of a file, samples of a sound; 0 if absent.

        A file that is not there has size -1.
        """
        if self._samples is not None:
            return _totals(self._samples)
        sizes = np.zeros(self._rows, dtype=np.int64)
        if self._bytes is not None:
            sizes = _lengths(self._bytes)
        for row in np.flatnonzero(self.present & (sizes == 0)):
            source = self._source(int(row))
            sizes[row] = len(source) if isinstance(source, bytes) else _size_of(source)
        return sizes

    def content(self, row: int) -> bytes:
        """What tells a present row from others: its bytes as they are stored.

        A file that cannot be read is told by its path.
        """
        if self._samples is not None:
            assert self._rates is not None
            rate = str(self._rates[row].as_py()).encode()
            return b"".join([rate, *(c.to_numpy(False).tobytes() for c in self._channels(row))])
        source = self._source(row)
        if isinstance(source, bytes):
            return source
        try:
            return read_bytes(source)
        except DataError:
            return str(source).encode(errors="surrogatepass")


def _lengths(cells: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.binary_length(cells), 0), dtype=np.int64).copy()


def _totals(samples: pa.ChunkedArray) -> np.ndarray:
    """The number of samples of each row, over all channels, told by the offsets alone."""
    if pa.types.is_fixed_size_list(samples.type):
        samples = samples.cast(pa.large_list(samples.type.value_type))
    found = [np.zeros(0, dtype=np.int64)]
    for chunk in samples.chunks:
        ends = np.asarray(chunk.offsets, dtype=np.int64)
        if pa.types.is_nested(chunk.values.type):
            channels = pc.fill_null(pc.list_value_length(chunk.values), 0)
            ends = np.cumsum([0, *np.asarray(channels, dtype=np.int64)])[ends]
        found.append(np.where(np.asarray(chunk.is_valid()), np.diff(ends), 0))
    return np.concatenate(found)


def _size_of(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return -1


def _amplitudes(channel: pa.Array) -> np.ndarray:
    """Samples from -1 to 1; whole numbers are scaled by their type's range."""
    values = np.asarray(channel.to_numpy(zero_copy_only=False))
    if values.dtype.kind == "i":
        return values / -float(np.iinfo(values.dtype).min)
    return values
