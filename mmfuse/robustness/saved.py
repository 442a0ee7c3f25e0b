"""A result's folder: one parquet file a table and ``meta.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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
    for file in (*(f"{name}.parquet" for name in names), "meta.json"):
        if not (folder / file).is_file():
            raise MissingFileError(
                f"There is no {what} in {folder}: {file} is missing. Give the folder that "
                f"{writer} wrote."
            )
    try:
        meta = json.loads((folder / "meta.json").read_text())
        return {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}, meta
    except (ValueError, OSError) as error:
        raise DataError(f"The {what} in {folder} is corrupt: {error}.") from error
