"""Shards: a bounded number of rows in one file, which appears whole or not at all."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save
from torch import Tensor

from mmfuse.features.columns import Column, target_arrow
from mmfuse.spec import TargetSpec
from mmfuse.store import SPLITS

Format = Literal["parquet", "safetensors"]


class ShardWriter(ABC):
    """Writes one shard, a batch at a time.

    Args:
        path: a temporary file; the caller gives it its name when all is written.
        targets: what each target looks like.
    """

    def __init__(self, path: Path, targets: Mapping[str, TargetSpec]) -> None:
        self.path, self.targets = path, targets

    @abstractmethod
    def write(
        self,
        rows: Tensor,
        splits: Tensor,
        columns: Mapping[str, Column],
        targets: Mapping[str, Tensor],
    ) -> None:
        """Adds rows: their numbers, codes of ``SPLITS`` (-1 for none), columns and targets."""

    @abstractmethod
    def close(self) -> None:
        """Ends the file; all of it is on the disk after."""


class ParquetShard(ShardWriter):
    """Parquet with a row group for each batch, so that memory holds one batch."""

    _writer: pq.ParquetWriter | None = None

    def write(
        self,
        rows: Tensor,
        splits: Tensor,
        columns: Mapping[str, Column],
        targets: Mapping[str, Tensor],
    ) -> None:
        """Appends a row group."""
        names = [*SPLITS, None]
        arrays: dict[str, Any] = {
            "row": pa.array(rows.numpy()),
            "split": pa.array([names[int(s)] for s in splits], pa.string()),
            **{name: column.arrow() for name, column in columns.items()},
            **{f"target.{t}": target_arrow(v, self.targets[t]) for t, v in targets.items()},
        }
        table = pa.table(arrays)
        if self._writer is None:
            # Neighbouring floats have little in common; compressing them costs more than it saves.
            self._writer = pq.ParquetWriter(
                self.path, table.schema, compression="none", use_dictionary=["split"]
            )
        self._writer.write_table(table)

    def close(self) -> None:
        """Writes the footer."""
        if self._writer is not None:
            self._writer.close()
        _flush(self.path)


class SafetensorsShard(ShardWriter):
    """Safetensors, whose memory holds one shard, and its bytes while they are written."""

    def __init__(self, path: Path, targets: Mapping[str, TargetSpec]) -> None:
        super().__init__(path, targets)
        self._parts: dict[str, list[Tensor]] = {}

    def write(
        self,
        rows: Tensor,
        splits: Tensor,
        columns: Mapping[str, Column],
        targets: Mapping[str, Tensor],
    ) -> None:
        """Keeps the rows until the shard is closed."""
        tensors = {"row": rows, "split": splits.to(torch.int8)}
        for name, column in columns.items():
            tensors |= column.tensors(name)
        tensors |= {f"target.{t}": v for t, v in targets.items()}
        for name, value in tensors.items():
            self._parts.setdefault(name, []).append(value)

    def close(self) -> None:
        """Writes the file."""
        # Not save_file, whose own temporary file would outlive a killed process.
        self.path.write_bytes(save({n: torch.cat(parts) for n, parts in self._parts.items()}))
        _flush(self.path)


WRITERS: dict[Format, type[ShardWriter]] = {
    "parquet": ParquetShard,
    "safetensors": SafetensorsShard,
}


def _flush(path: Path) -> None:
    # A file that is renamed before its content is on the disk may be empty after a power cut.
    with path.open("rb") as file:
        os.fsync(file.fileno())
