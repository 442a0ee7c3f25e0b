"""Media as a person has them (pictures, sounds, videos, files, bytes) -> an Arrow column."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from mmfuse.errors import DataError
from mmfuse.media import Sound, Video
from mmfuse.media.image import to_rgb
from mmfuse.spec import Kind

#: A file as Hugging Face's ``datasets`` stores it: its content or its path.
FILE = pa.struct({"bytes": pa.large_binary(), "path": pa.large_string()})


def kind_of_value(value: Any) -> Kind | None:
    """The kind that a value's type tells, None if it does not."""
    if isinstance(value, Image.Image):
        return "image"
    if isinstance(value, Sound):
        return "audio"
    return "video" if isinstance(value, Video) else None


def is_file(value: Any) -> bool:
    """Whether a value is a file's content or path, which do not tell the kind."""
    return isinstance(value, bytes | Path | dict)


def media_array(name: str, rows: Sequence[Any], kind: Kind) -> pa.Array:
    """Rows of one kind of media as Arrow.

    Args:
        name: the modality, for errors.
        rows: pictures, sounds, videos, paths, the content of files, or mappings as a
            ``MediaColumn`` takes them; None where absent.
        kind: which of them.

    Raises:
        DataError: a row of another type; with its number.
    """
    first = next((row for row in rows if row is not None), None)
    if isinstance(first, Sound):
        if strange := [i for i, r in enumerate(rows) if not isinstance(r, Sound | None)]:
            raise DataError(
                f"Modality {name!r}: row {strange[0]} is no Sound, others are. Give Sounds, or "
                "files, but not both."
            )
        return sound_array(
            [None if r is None else r.samples for r in rows],
            [0 if r is None else r.rate for r in rows],
        )
    if isinstance(first, dict) and "samples" in first:
        return pa.array(rows)
    return pa.array([_file(name, i, row, kind) for i, row in enumerate(rows)], FILE)


def _file(name: str, row: int, value: Any, kind: Kind) -> dict[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, dict) and {"bytes", "path"} & set(value):
        return value
    if isinstance(value, Image.Image) and kind == "image":
        return {"bytes": _pixels(name, row, value)}
    if isinstance(value, Video) and kind == "video":
        value = value.source
    if isinstance(value, bytes):
        return {"bytes": value}
    if isinstance(value, str | Path):
        return {"path": str(value)}
    raise DataError(
        f"Modality {name!r} is {kind}, and row {row} is a {type(value).__name__}. Give a path, the "
        "bytes of a file, a PIL image, an mmfuse.media.Sound or Video, or None where absent."
    )


def _pixels(name: str, row: int, picture: Image.Image) -> bytes:
    """The pixels in the plainest of formats, as memory already holds them so."""
    try:
        content = io.BytesIO()
        to_rgb(picture).save(content, "PPM")
    except Exception as error:  # opened, but read only now
        raise DataError(f"Modality {name!r}: the picture of row {row}: {error}") from error
    return content.getvalue()


def sound_array(samples: Sequence[np.ndarray | None], rates: Sequence[int]) -> pa.Array:
    """Sounds as structs of ``samples`` and ``rate``.

    Args:
        samples: ``(channels, length)`` each, float32 or int16; None where absent.
        rates: samples a second of each.
    """
    given = [s for s in samples if s is not None]
    channels = np.cumsum([0, *(0 if s is None else len(s) for s in samples)])
    lengths = [length for s in given for length in [s.shape[1]] * len(s)]
    flat = np.concatenate([s.reshape(-1) for s in given])
    ends = np.cumsum([0, *lengths])
    inner = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(flat))
    outer = pa.LargeListArray.from_arrays(pa.array(channels, pa.int64()), inner)
    return pa.StructArray.from_arrays(
        [outer, pa.array(rates, pa.int32())],
        ["samples", "rate"],
        mask=pa.array([s is None for s in samples]),
    )
