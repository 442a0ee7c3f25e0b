"""Where media come from: the bytes of a file, or its path."""

from __future__ import annotations

import io
from pathlib import Path

from mmfuse.errors import DataError

Source = bytes | str | Path


def open_source(source: Source) -> io.BytesIO:
    """The file's content, as an open file.

    Raises:
        DataError: as ``content_of``.
    """
    return io.BytesIO(content_of(source))


def content_of(source: Source) -> bytes:
    """The file's content.

    Raises:
        DataError: there is no such file, it cannot be read, or it is empty.
    """
    content = source if isinstance(source, bytes) else read_bytes(source)
    if not content:
        raise DataError(f"{name_of(source)} is empty. Replace it, or mark the row absent.")
    return content


def read_bytes(path: str | Path) -> bytes:
    """A file's content.

    Raises:
        DataError: there is no such file, it is a folder or a device, or it cannot be read.
    """
    path = Path(path)
    try:
        # A pipe or a device would be waited for, or read without end.
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no file. Check the path.")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} cannot be read: {error}. Check the path.") from error


def name_of(source: Source) -> str:
    """How a message calls the source."""
    return "the embedded file" if isinstance(source, bytes) else str(source)
