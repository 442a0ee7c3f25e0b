"""FeatureIndex: nearest neighbours among extracted features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.features.neighbours import METRICS, NOBODY, Metric, Neighbours, nearer, prepared
from mmfuse.features.vectors import StoredVectors

Backend = Literal["exact", "faiss", "faiss-hnsw", "faiss-ivf"]
BACKENDS: tuple[Backend, ...] = ("exact", "faiss", "faiss-hnsw", "faiss-ivf")

#: Queries that pass over the features together, and how many of them meet a block at a time.
_TOGETHER, _AT_A_TIME = 16384, 256
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class FeatureIndex(ABC):
    """Finds the rows of a column whose vectors are nearest to a query.

    Rows that lack the modality are never found. Made by ``mmfuse.features.index``.

    Args:
        vectors: the column.
        metric: what near means.
    """

    def __init__(self, vectors: StoredVectors, metric: Metric) -> None:
        self.vectors, self.metric = vectors, metric

    @abstractmethod
    def __len__(self) -> int:
        """How many rows can be found."""

    @abstractmethod
    def _keys(self, queries: Tensor, k: int) -> Tensor:
        """For finite queries (Q, D) the keys of their neighbours (Q, k), the nearest first."""

    def search(self, vectors: Any, k: int = 10) -> Neighbours:
        """The neighbours of vectors.

        Args:
            vectors: ``(Q, D)``, a tensor or what becomes one.
            k: how many.

        Raises:
            DataError: vectors of another shape, or that hold NaN or infinity.
            ConfigError: fewer than ``k`` rows can be found.
        """
        return self._found(iter(self._queries(vectors).split(_TOGETHER)), k)

    def search_rows(
        self,
        rows: Any,
        k: int = 10,
        column: str | None = None,
        exclude_self: bool | None = None,
    ) -> Neighbours:
        """The neighbours of rows that are among the features.

        Args:
            rows: ``(Q,)``, their numbers in the source, as the column ``row`` has them.
            k: how many.
            column: whose vectors to query with, for another modality in the same space; the
                indexed column by default.
            exclude_self: leave the row itself out; by default when the indexed column queries.

        Raises:
            DataError: a row that is not among the features or lacks the vector.
            ConfigError: no such column, one of another width, or fewer than ``k`` rows can be
                found.
        """
        source = self.vectors
        if column not in (None, source.column):
            source = StoredVectors(source.folder.path, column)
            if source.width != self.vectors.width:
                raise ConfigError(
                    f"{column!r} has width {source.width}, {self.vectors.column!r} has "
                    f"{self.vectors.width}: they do not share a space. Query with a column that "
                    "does."
                )
        numbers = _tensor(rows)
        if numbers.ndim != 1 or numbers.dtype not in _WHOLE or not len(numbers):
            raise DataError(
                f"Rows have the shape {tuple(numbers.shape)} and are {numbers.dtype}; expected "
                "row numbers, (Q,)."
            )
        numbers = numbers.long().cpu()
        without = source is self.vectors if exclude_self is None else exclude_self
        parts = (source.at(part) for part in numbers.split(_TOGETHER))
        found = self._found(parts, k, int(without))
        return found.without(numbers) if without else found

    def _found(self, parts: Iterator[Tensor], k: int, more: int = 0) -> Neighbours:
        """The neighbours of queries that come in parts, and ``more`` of them."""
        if not 1 <= k <= self.vectors.manifest["rows_written"] - more:
            self._check(k, len(self) - more)
        keys = torch.cat([self._keys(part, k + more) for part in parts])
        self._check(k, len(self) - more)  # only now, as a search of the files counts them too
        return Neighbours.of(keys, self.metric)

    def _queries(self, vectors: Any) -> Tensor:
        queries = _tensor(vectors)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.width or not len(queries):
            raise DataError(
                f"Queries have the shape {tuple(queries.shape)}; {self.vectors.column!r} needs "
                f"(Q, {self.vectors.width})."
            )
        queries = queries.detach().to("cpu", torch.float32)
        if not torch.isfinite(queries).all():
            raise DataError("A query holds NaN or infinity, which is near to nothing.")
        return queries

    def _check(self, k: int, most: int) -> None:
        if not 1 <= k <= most:
            raise ConfigError(
                f"k is {k}, and {most} rows of {self.vectors.column!r} can be found; expected a k "
                "from 1 up to that."
            )


class ExactIndex(FeatureIndex):
    """Compares every query with every vector, in float64, a block of the files at a time.

    Memory holds one block, whatever the number of rows; nothing is kept between searches. Many
    queries at once cost one reading of the files.
    """

    _count: int | None = None

    def __len__(self) -> int:
        """How many rows can be found; counted once."""
        if self._count is None:
            self._count = sum(len(rows) for rows, _ in self.vectors.blocks())
        return self._count

    def _keys(self, queries: Tensor, k: int) -> Tensor:
        queries = prepared(queries, self.metric)
        best, count = torch.full((len(queries), k), NOBODY), 0
        for rows, values in self.vectors.blocks():
            count += len(rows)
            values = prepared(values, self.metric)
            parts = zip(queries.split(_AT_A_TIME), best.split(_AT_A_TIME), strict=True)
            for some, keys in parts:
                keys.copy_(nearer(keys, some, rows, values, self.metric))
        self._count = count
        return best


def _tensor(value: Any) -> Tensor:
    try:
        if isinstance(value, np.ndarray) and not value.flags.writeable:
            value = value.copy()  # pandas hands out such arrays, which torch warns of
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"A query is no tensor and becomes none: {error}.") from error


def index(
    path: str | Path,
    column: str | None = None,
    backend: Backend = "exact",
    metric: Metric = "cosine",
    verify: bool = True,
    **options: int,
) -> FeatureIndex:
    """Nearest neighbours among extracted features.

    Indexes of faiss are saved in the folder's ``index/`` and loaded from there; one that was
    made from other features or with other options is built again. They hold all vectors in
    memory; ``exact`` reads them from the files, and needs nothing installed.

    Args:
        path: the folder that ``mmfuse extract`` or ``Extractor`` wrote.
        column: a column of vectors; None for the only one.
        backend: ``exact``; ``faiss`` for an exact search in memory (float32); ``faiss-hnsw``
            for a graph (Malkov and Yashunin, TPAMI 2020, arXiv:1603.09320), quick to search and
            slow to build; ``faiss-ivf`` for clusters of which the nearest are searched, quicker
            to build. The last two may miss neighbours.
        metric: ``cosine``, ``dot`` or ``l2``.
        verify: compare every file with its digest before it is read.
        **options: for ``faiss-hnsw`` ``m`` links a row (32), ``ef_construction`` (200) and
            ``ef_search`` (128) candidates; for ``faiss-ivf`` ``nlist`` clusters (four times
            the root of the rows) and the ``nprobe`` searched ones (a sixteenth, 8 at least).

    Raises:
        MissingFileError: there is no such folder, or its extraction has not ended.
        DataError: a file was changed, or there is no vector in the column.
        ConfigError: a column, backend, metric or option that does not exist; or faiss is not
            installed.
        OutputError: an index of faiss cannot be saved.

    Example:
        >>> import tempfile, mmfuse
        >>> from mmfuse_encoders import MLPEncoder
        >>> folder = Path(tempfile.mkdtemp()) / "features"
        >>> encoders = {"a": MLPEncoder(2, out_dim=4)}
        >>> rows = [[1.0, 2.0], None, [3.0, 4.0], [1.1, 2.0]]
        >>> _ = mmfuse.Extractor(encoders).extract({"a": rows}, folder)
        >>> mmfuse.features.index(folder, metric="l2").search_rows([0], k=1).rows
        tensor([[3]])
    """
    for name, found, known in (("backend", backend, BACKENDS), ("metric", metric, METRICS)):
        if found not in known:
            raise ConfigError(f"{name} is {found!r}; expected one of {', '.join(known)}.")
    if backend != "exact":
        from mmfuse.features.faiss_index import FaissIndex

        return FaissIndex.of(path, column, backend, metric, verify, options)
    if options:
        raise ConfigError(f"The exact backend has no options; found {sorted(options)}.")
    vectors = StoredVectors(path, column, verify)
    require_some(vectors)
    return ExactIndex(vectors, metric)


def require_some(vectors: StoredVectors) -> None:
    """Refuses a column in which every row is absent.

    Raises:
        DataError: naming it.
    """
    if next(vectors.blocks(), None) is None:
        raise DataError(f"No row in {vectors.folder.path} has {vectors.column!r}.")
