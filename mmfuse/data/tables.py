"""TableData: CSV and Parquet files, a group of columns for each modality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.groups import (
    ColumnGroup,
    Groups,
    Targets,
    find_columns,
    group_of,
    named_targets,
    pick_target,
)
from mmfuse.data.media import MEDIA
from mmfuse.data.modalities import Column, to_column
from mmfuse.data.source import Source, gather_columns
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.files import sha256
from mmfuse.spec import TargetKind


class TableData(FusionDataModule):
    """CSV and Parquet files, a group of columns for each modality.

    A row lacks a modality when all cells of its group are empty.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.parquet`` file; the first two may be packed (``.gz``).
        modalities: each modality's columns: a name, names, patterns such as ``gene_*``, or
            ``columns`` with ``kind`` and ``categorical``. Columns of strings are categories
            unless ``kind`` is ``text``, or ``image``, ``audio`` or ``video`` for paths of
            files; a Parquet column of lists holds vectors or series, one of binaries files.
        targets: columns to predict; a mapping names them, joins several into one target with
            several labels or values, or gives a ``Survival`` target its ``time`` and
            ``event`` (or ``censored``).
        target_kinds: what a target is, where its values do not tell.
        split: the column with ``train``, ``val`` or ``test``.
        groups: the column whose equal values stay in one split.
        root: the folder that paths of files start from; None is the table's own.
        **kwargs: as ``FusionDataModule``.
    """

    def __init__(
        self,
        path: str,
        modalities: Groups,
        targets: Targets | None = None,
        target_kinds: dict[str, TargetKind] | None = None,
        split: str | None = None,
        groups: str | None = None,
        root: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path, self.modalities, self.targets = path, modalities, targets
        self.target_kinds, self.split, self.groups = target_kinds, split, groups
        self.root = Path(path).parent if root is None else Path(root)

    def read(self) -> Source:
        """Reads the file.

        Raises:
            MissingFileError: there is none.
            DataError: it is corrupt, or lacks a column.
        """
        return source_from_frame(
            read_table(self.path),
            self.modalities,
            self.targets,
            self.target_kinds,
            self.split,
            self.groups,
            self.root,
        )

    def ids(self, column: str) -> np.ndarray:
        """A column that names the rows."""
        return read_table(self.path, [column]).iloc[:, 0].to_numpy()

    def settings(self) -> dict[str, Any]:
        """How this data is made; the file is told by a digest of its content."""
        return super().settings() | {"sha256": sha256(self.path)}


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table file as a DataFrame.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.parquet`` file.
        columns: those to read; None for all.

    Raises:
        MissingFileError: there is none.
        DataError: it cannot be read, or lacks a column.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": lambda file: _read_csv(file, ",", columns),
        ".tsv": lambda file: _read_csv(file, "\t", columns),
        ".parquet": lambda file: _read_parquet(file, columns),
    }
    kind = path.suffix
    if kind == ".gz" and path.with_suffix("").suffix in (".csv", ".tsv"):
        kind = path.with_suffix("").suffix  # pandas unpacks by itself
    if kind not in readers:
        raise ConfigError(
            f"{path} is neither .csv, .tsv nor .parquet; the first two may be packed as .gz."
        )
    if not path.is_file():
        raise MissingFileError(f"There is no table at {path}. Check the path.")
    try:
        return readers[kind](path)
    except DataError:
        raise
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise DataError(
            f"{path} cannot be read: {str(error).strip()}. Is the file whole?"
        ) from error


def _read_csv(file: Path, separator: str, columns: Sequence[str] | None) -> pd.DataFrame:
    if columns is None:
        return pd.read_csv(file, sep=separator)
    known = list(pd.read_csv(file, sep=separator, nrows=0).columns)
    return pd.read_csv(file, sep=separator, usecols=find_columns(columns, known, str(file)))


def _read_parquet(file: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    if columns is None:
        return pd.read_parquet(file)
    known = pq.read_schema(file).names
    return pd.read_parquet(file, columns=find_columns(columns, known, str(file)))


def source_from_frame(
    frame: pd.DataFrame,
    modalities: Groups,
    targets: Targets | None = None,
    target_kinds: dict[str, TargetKind] | None = None,
    split: str | None = None,
    groups: str | None = None,
    root: Path = Path(),
) -> Source:
    """A source from a DataFrame's columns; arguments as ``TableData``."""
    known = list(frame.columns)

    def column(of: str, name: str | None) -> np.ndarray | None:
        return None if name is None else frame[find_columns(name, known, of)[0]].to_numpy()

    return gather_columns(
        {m: _modality(frame, m, group_of(g)) for m, g in modalities.items()},
        {t: pick_target(frame, t, c) for t, c in named_targets(targets).items()},
        target_kinds,
        column("split", split),
        column("groups", groups),
        root,
    )


def _modality(frame: pd.DataFrame, name: str, group: ColumnGroup) -> Column:
    columns = find_columns(group.columns, list(frame.columns), f"Modality {name!r}")
    if group.kind in ("text", *MEDIA) and len(columns) > 1:
        raise ConfigError(
            f"Modality {name!r} is {group.kind} and names {len(columns)} columns; name one, or "
            "make a modality of each."
        )
    values = frame[columns[0]]
    is_whole = group.kind in ("text", *MEDIA) or _is_nested(values)
    if len(columns) == 1 and is_whole:
        return to_column(name, values.tolist(), group.kind, rate=group.rate)
    if nested := [c for c in columns if _is_nested(frame[c])]:
        raise ConfigError(
            f"Modality {name!r} joins {nested}, whose cells are lists or files, with other columns."
            " Make a modality of each such column."
        )
    return to_column(name, frame[columns], group.kind, group.categorical, group.rate)


def _is_nested(column: pd.Series) -> bool:
    """Whether the cells are lists or files, which make up a modality alone."""
    known = column.dropna() if column.dtype == object else column.iloc[:0]
    return len(known) > 0 and isinstance(known.iloc[0], np.ndarray | list | bytes | dict)
