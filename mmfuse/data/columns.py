"""Columns: one modality's rows in Arrow, gathered a batch at a time; a null is an absence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mmfuse.batch import RawInput
from mmfuse.data.cells import Cells
from mmfuse.data.media import MEDIA, MediaColumn
from mmfuse.errors import DataError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


class NumberColumn:
    """Rows of numbers of one shape, gathered from Arrow's own buffers without a copy before.

    Args:
        column: fixed-size or variable lists of numbers, or of steps of one width, in any
            number of chunks.
        shape: one row's shape; its size is every present row's length.
        name: the modality, for errors.

    Raises:
        DataError: a present row of another length.
    """

    def __init__(self, column: pa.ChunkedArray, shape: Sequence[int], name: str) -> None:
        self.shape = tuple(shape)
        self.size = int(np.prod(self.shape))
        self.present = _valid(column)
        #: What happens to single cells on the way; known once training rows are.
        self.cells: Cells | None = None
        self._chunks = [self._view(chunk, name) for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0, *(len(places) for _, places in self._chunks)])

    def _view(self, chunk: pa.Array, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A chunk's numbers as a grid of rows (or flat), and where each of its rows is."""
        inner, width_of_step = chunk.values, 1
        if pa.types.is_nested(inner.type):
            if inner.null_count:
                raise DataError(f"Modality {name!r}: a step is null. Leave the step out.")
            inner, width_of_step = inner.flatten(), self.shape[-1]
        values = np.asarray(inner.to_numpy(zero_copy_only=False))
        if pa.types.is_fixed_size_list(chunk.type):
            width = chunk.type.list_size
            lengths = np.full(len(chunk), width)
            starts = (chunk.offset + np.arange(len(chunk))) * width
        else:
            offsets = chunk.offsets.to_numpy()
            lengths, starts = np.diff(offsets), offsets[:-1]
        lengths, starts = lengths * width_of_step, starts * width_of_step
        valid = np.asarray(chunk.is_valid())
        wrong = valid & (lengths != self.size)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"Modality {name!r}: row {row} has {lengths[row]} numbers, expected {self.size} "
                f"(shape {self.shape}). Rows of unequal length are a series; else mend the row."
            )
        if not len(values):  # every row of the chunk is null
            values = np.zeros(self.size, dtype=np.float32)
        starts = np.where(valid, starts, 0)
        if values.size % self.size == 0 and not (starts % self.size).any():
            return values.reshape(-1, self.size), starts // self.size
        return values, starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows as float32 ``(len(rows), *shape)``; an absent one holds anything."""
        if len(self._chunks) == 1:
            values = self._gather(self._chunks[0], rows)
        else:
            values = np.empty((len(rows), *self.shape), dtype=np.float32)
            home = np.searchsorted(self._starts, rows, side="right") - 1
            for i in np.unique(home):
                here = home == i
                values[here] = self._gather(self._chunks[i], rows[here] - self._starts[i])
        return self.cells(values) if self.cells else values

    def _gather(self, chunk: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> np.ndarray:
        values, places = chunk
        # Whole rows are gathered faster than single numbers; ragged buffers have no rows.
        where = places[rows] if values.ndim == 2 else places[rows][:, None] + np.arange(self.size)
        return values[where].astype(np.float32, copy=False).reshape(len(rows), *self.shape)

    def fetch(self, rows: np.ndarray) -> RawInput:
        """The rows as a tensor."""
        return torch.from_numpy(self.take(rows))


class RaggedColumn:
    """Series of unequal length, padded to the longest of a batch.

    Args:
        column: lists of numbers, or lists of lists (steps, then channels).
        channels: numbers a step; 1 for a plain list of numbers.
    """

    def __init__(self, column: pa.ChunkedArray, channels: int) -> None:
        self.channels = channels
        self.present = _valid(column)
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def take(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Each row's array ``(steps, channels)``, None where absent."""
        return [self._row(self._column[int(r)]) for r in rows]

    def _row(self, scalar: pa.ListScalar) -> np.ndarray | None:
        if not scalar.is_valid:
            return None
        values = scalar.values
        while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
            values = values.flatten()
        return np.asarray(values, dtype=np.float32).reshape(-1, self.channels)

    def fetch(self, rows: np.ndarray) -> RawInput:
        """The rows as padded tokens ``(B, longest, channels)``."""
        found = self.take(rows)
        lengths = torch.tensor([0 if v is None else len(v) for v in found])
        values = torch.zeros(len(rows), max(int(lengths.max()), 1), self.channels)
        for i, v in enumerate(found):
            if v is not None:
                values[i, : len(v)] = torch.from_numpy(v.copy())
        return Tokens(values, torch.arange(values.shape[1]) < lengths[:, None])


class ObjectColumn:
    """Texts, which an encoder's ``preprocess`` turns into tensors.

    Args:
        column: strings.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.present = _valid(column)
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def take(self, rows: np.ndarray) -> list[Any]:
        """Each row's object, None where absent."""
        return self._column.take(pa.array(rows)).to_pylist()


#: What has numbers to check and measure.
Numeric = NumberColumn | RaggedColumn
#: What an encoder's ``preprocess`` turns into tensors.
Objects = ObjectColumn | MediaColumn
Column = Numeric | Objects


def _valid(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=bool)


def column_of(
    column: pa.ChunkedArray, modality: str, spec: ModalitySpec, root: Path = Path()
) -> Column:
    """The reader that fits a modality's kind; paths of files start from ``root``."""
    if not spec.shape and spec.kind in MEDIA:
        return MediaColumn(column, spec, root)
    if not spec.shape:
        return ObjectColumn(column)
    if spec.shape[0] is None:
        return RaggedColumn(column, spec.width)
    return NumberColumn(column, [s for s in spec.shape if s is not None], modality)
