"""Files that appear whole or not at all, and the digest of one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmfuse.errors import MissingFileError, OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` when the block ends well.

    Interrupted or failing work leaves the old file, or none, never half of one.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "folder" / "note.txt"
        >>> with replacing(target) as part:
        ...     _ = part.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    # Another process may be writing the same file at this moment.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OutputError:
        raise  # of another file, written inside this block
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error}. Check space and permissions.") from error
    finally:
        if part.exists():
            part.unlink()


def require_writable(folder: str | Path) -> None:
    """Makes a folder and writes a byte in it, to be told before any work that this cannot be.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
            os.fsync(probe.fileno())
    except OSError as error:
        raise OutputError(f"Cannot write the folder {folder}: {error}.") from error


def write_json(content: Any, path: str | Path) -> None:
    """Writes plain data as JSON, whole or not at all.

    Raises:
        OutputError: as ``replacing``.
    """
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def sha256(path: str | Path) -> str:
    """The digest of a file's content.

    Raises:
        MissingFileError: there is none.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no file at {path}. Check the path.") from error


def digest(plain: Any) -> str:
    """The digest of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
