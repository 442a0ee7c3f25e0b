"""A result's folder: one parquet file a table and ``meta.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd

from mmfuse.errors import DataError, MissingFileError
from mmfuse.files import replacing


def save_tables(
    folder: str | Path, tables: Mapping[str, pd.DataFrame], meta: Mapping[str, Any]
) -> Path:
    """Writes every file beside its place before the first one takes it.

    An interruption thus leaves the old result.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    with ExitStack() as stack:
        for name, table in tables.items():
            table.to_parquet(stack.enter_context(replacing(folder / f"{name}.parquet")))
        part = stack.enter_context(replacing(folder / "meta.json"))
        part.write_text(json.dumps(meta, indent=2) + "\n")
    return folder


def load_tables(
    folder: str | Path, names: Sequence[str], what: str, writer: str
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Reads what ``save_tables`` wrote.

    Args:
        folder: of the result.
        names: of the tables.
        what: is read, in words.
        writer: what writes such a folder.

    Raises:
        MissingFileError: the folder lacks a file of it.
        DataError: a file is corrupt.
    """
    folder = Path(folder)
    for name in names:
        _require(folder / f"{name}.parquet", what, writer)
    meta = load_meta(folder, what, writer)
    try:
        return {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}, meta
    except (ValueError, OSError) as error:
        raise DataError(f"The {what} in {folder} is corrupt: {error}.") from error


def load_meta(folder: str | Path, what: str, writer: str) -> dict[str, Any]:
    """Reads ``meta.json`` alone; arguments and errors as ``load_tables``."""
    path = Path(folder) / "meta.json"
    _require(path, what, writer)
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DataError(f"The {what} in {folder} is corrupt: {error}.") from error
    return found


def _require(path: Path, what: str, writer: str) -> None:
    if not path.is_file():
        raise MissingFileError(
            f"There is no {what} in {path.parent}: {path.name} is missing. Give the folder that "
            f"{writer} wrote."
        )


@dataclass(frozen=True)
class SavedTables:
    """Base of results that are tables, and ``meta`` in plain data.

    A subclass says ``what`` it is, for errors; every field of its own but ``meta`` is a table.
    """

    what: ClassVar[str]

    def save(self, folder: str | Path) -> Path:
        """Writes one parquet file a table and ``meta.json``.

        Raises:
            OutputError: the folder cannot be written.
        """
        tables = {name: getattr(self, name) for name in self._tables()}
        return save_tables(folder, tables, self.meta)  # type: ignore[attr-defined]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what ``save`` wrote.

        Raises:
            MissingFileError: the folder lacks a file of it.
            DataError: a file is corrupt.
        """
        tables, meta = load_tables(folder, cls._tables(), cls.what, f"{cls.__name__}.save")
        found: dict[str, Any] = {**tables, "meta": meta}
        return cls(**found)

    @classmethod
    def _tables(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "meta"]
