"""StoredVectors: one column of extracted features, read a bounded part at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.store.folder import SPLITS, FeatureFolder

#: Numbers that are held at a time, of the stored vectors.
_BLOCK = 2**20


class StoredVectors:
    """The vectors of one column, by row.

    Args:
        path: the folder of the features.
        column: a column of vectors; None for the only one.
        verify: compare every file with its digest first.

    Raises:
        MissingFileError: there is no such folder, or its extraction has not ended.
        DataError: a file was changed.
        ConfigError: no such column, or one of sequences; naming those there are.
    """

    def __init__(self, path: str | Path, column: str | None = None, verify: bool = False) -> None:
        self.folder = FeatureFolder(path)
        self.manifest = self.folder.verified() if verify else self.folder.manifest()
        columns = self.manifest["columns"]
        known = [name for name, facts in columns.items() if facts["kind"] == "vector"]
        if not self.manifest["rows_written"]:
            raise DataError(f"{path} holds no rows. Extract features of some.")
        if column is None and len(known) != 1:
            raise ConfigError(
                f"{path} has the vectors {', '.join(known) or 'none'}. Choose a column."
            )
        self.column = column or known[0]
        if self.column not in known:
            what = "holds sequences, of which no neighbours are found" if column in columns else ""
            raise ConfigError(
                f"Column {column!r} {what or f'is not in {path}'}. Columns of vectors: "
                f"{', '.join(known) or 'none'}."
            )
        self.width: int = columns[self.column]["width"]
        reader = _Parquet if self.manifest["kind"] == "parquet" else _Safetensors
        shards = [s for s in self.manifest["shards"] if s["rows"]]
        self._shards = [reader(self.folder.path / s["file"], self.column) for s in shards]
        self._ends = np.cumsum([s["rows"] for s in shards])

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Every row's number, sorted, and its place over all shards."""
        rows = np.concatenate([shard.rows() for shard in self._shards])
        order = np.argsort(rows, kind="stable")
        return rows[order], order

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows that have the vector, a block at a time: numbers (n,), values (n, D).

        Raises:
            DataError: a vector that holds NaN or infinity.
        """
        size = max(1, _BLOCK // self.width)
        for shard in self._shards:
            for rows, present, values in shard.blocks(size):
                here = torch.from_numpy(np.compress(present, rows))
                if len(here):
                    yield here, self._checked(here, values)

    def splits(self) -> tuple[Tensor, Tensor]:
        """Every row's number (n,), with the vector or without, and the code of its split (n,).

        The code is the place in ``mmfuse.store.SPLITS``; -1 for a row of none.
        """
        rows = np.concatenate([shard.rows() for shard in self._shards])
        codes = np.concatenate([shard.splits() for shard in self._shards])
        return torch.from_numpy(rows), torch.from_numpy(codes)

    def at(self, rows: Tensor) -> Tensor:
        """The vectors of some rows, ``(len(rows), D)``.

        Raises:
            DataError: a row that is not among the features, or lacks the vector.
        """
        known, order = self._places
        wanted = rows.numpy()
        found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        if strange := wanted[known[found] != wanted][:5].tolist():
            raise DataError(
                f"Rows {strange} are not among the features in {self.folder.path}, whose rows are "
                f"{known[0]} to {known[-1]}."
            )
        places = order[found]
        values = torch.empty(len(rows), self.width)
        held = np.searchsorted(self._ends, places, side="right")
        for i in np.unique(held):
            mine = np.flatnonzero(held == i)
            present, stored = self._shards[i].at(places[mine] - (self._ends[i - 1] if i else 0))
            if absent := wanted[mine[~present]][:5].tolist():
                raise DataError(
                    f"Rows {absent} have no {self.column!r}. Query by rows that have it."
                )
            values[torch.from_numpy(mine)] = self._checked(rows[mine], stored)
        return values

    def _checked(self, rows: Tensor, values: Tensor) -> Tensor:
        if not torch.isfinite(values).all():
            row = rows[~torch.isfinite(values).all(dim=1)][0].item()
            raise DataError(
                f"Row {row}: {self.column!r} holds NaN or infinity, which is near to nothing. "
                "Extract the features again, with dtype float32 if they were of half precision."
            )
        return values


class _Shard(ABC):
    """One file of features, open while it is read and no longer.

    Args:
        file: where it is.
        column: which vectors to read.
    """

    def __init__(self, file: Path, column: str) -> None:
        self.file, self.column = file, column

    @abstractmethod
    def rows(self) -> np.ndarray:
        """Their numbers."""

    @abstractmethod
    def splits(self) -> np.ndarray:
        """The codes of their splits, -1 for none."""

    @abstractmethod
    def blocks(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
        """Row numbers, which rows have the vector, and the vectors of those alone."""

    @abstractmethod
    def at(self, places: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Which of the places have the vector, and the vectors of those alone, in order."""


class _Parquet(_Shard):
    def rows(self) -> np.ndarray:
        with pq.ParquetFile(self.file, pre_buffer=False) as file:
            return file.read(["row"])["row"].to_numpy()

    def splits(self) -> np.ndarray:
        with pq.ParquetFile(self.file, pre_buffer=False) as file:
            told = file.read(["split"])["split"]
        return pc.fill_null(pc.index_in(told, pa.array(SPLITS)), -1).to_numpy().astype(np.int64)

    def blocks(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
        # Decoding a column takes less time than threads take to meet.
        options = {"columns": ["row", self.column], "use_threads": False}
        with pq.ParquetFile(self.file, pre_buffer=False) as file:
            for batch in file.iter_batches(size, **options):
                stored = batch[self.column]
                yield batch["row"].to_numpy(), _present(stored), _values(stored)

    def at(self, places: np.ndarray) -> tuple[np.ndarray, Tensor]:
        with pq.ParquetFile(self.file, pre_buffer=False) as file:
            meta = file.metadata
            ends = np.cumsum([meta.row_group(g).num_rows for g in range(meta.num_row_groups)])
            groups = np.searchsorted(ends, places, side="right")
            present = np.zeros(len(places), bool)
            width = file.schema_arrow.field(self.column).type.list_size
            values = torch.zeros(len(places), width)
            for group in np.unique(groups):
                mine = np.flatnonzero(groups == group)
                start = ends[group - 1] if group else 0
                column = file.read_row_group(group, [self.column])[self.column]
                stored = column.combine_chunks().take(pa.array(places[mine] - start))
                present[mine] = _present(stored)
                values[torch.from_numpy(mine[present[mine]])] = _values(stored)
        return present, values[torch.from_numpy(present)]


class _Safetensors(_Shard):
    def rows(self) -> np.ndarray:
        with safe_open(self.file, "pt") as file:
            return file.get_tensor("row").numpy()

    def splits(self) -> np.ndarray:
        with safe_open(self.file, "pt") as file:
            return file.get_tensor("split").numpy().astype(np.int64)

    def blocks(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
        with safe_open(self.file, "pt") as file:
            rows, present = (file.get_tensor(n) for n in ("row", f"{self.column}.present"))
            stored = file.get_slice(self.column)
            for start in range(0, len(rows), size):
                here = present[start : start + size]
                values = stored[start : start + size][here].float()
                yield rows[start : start + size].numpy(), here.numpy(), values

    def at(self, places: np.ndarray) -> tuple[np.ndarray, Tensor]:
        with safe_open(self.file, "pt") as file:
            present = file.get_tensor(f"{self.column}.present").numpy()[places]
            stored = file.get_slice(self.column)
            found = [stored[int(p) : int(p) + 1] for p in places[present]]
            return present, torch.cat(found).float() if found else torch.empty(0)


def _present(stored: pa.FixedSizeListArray) -> np.ndarray:
    return stored.is_valid().to_numpy(zero_copy_only=False)


def _values(stored: pa.FixedSizeListArray) -> Tensor:
    flat = stored.flatten().to_numpy(zero_copy_only=False)  # without those of absent rows
    return torch.from_numpy(flat.astype(np.float32)).reshape(-1, stored.type.list_size)
