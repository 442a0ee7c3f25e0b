"""Where media come from: the bytes of a file, or its path."""

from __future__ import annotations

import io
from pathlib import Path

from mmfuse.errors import DataError

Source = bytes | str | Path


def open_source(source: Source) -> io.BytesIO:
    """The file's content.

    Raises:
        DataError: there is no such file, it cannot be read, or it is empty.
    """
    content = source if isinstance(source, bytes) else _content(Path(source))
    if not content:
        raise DataError(f"{name_of(source)} is empty. Replace it, or mark the row absent.")
    return io.BytesIO(content)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise DataError(f"{path} cannot be read: {error}. Check the path.") from error


def name_of(source: Source) -> str:
    """How a message calls the source."""
    return "the embedded file" if isinstance(source, bytes) else str(source)
