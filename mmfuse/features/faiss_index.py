"""FaissIndex: neighbours by faiss, in an index that is saved beside the features."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.errors import ConfigError, MmfuseError, OutputError
from mmfuse.features.feature_index import FeatureIndex, require_some
from mmfuse.features.neighbours import NOBODY, Metric, keys_of
from mmfuse.features.vectors import StoredVectors
from mmfuse.files import replacing, sha256, write_json
from mmfuse.store.folder import FeatureFolder

_log = logging.getLogger(__name__)

#: Vectors a cluster that faiss is shown when it looks for the clusters; it asks for 39 up.
_SHOWN = 40


@dataclass(frozen=True)
class _Kind(ABC):
    """How one sort of index is built and searched.

    Options that ``searching`` names may change for an index that is saved.
    """

    searching: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def build(self, faiss: Any, width: int, metric: int, count: int) -> Any:
        """An empty index for ``count`` vectors."""

    def shown(self, count: int) -> int:
        """How many vectors it wants to see before any is added."""
        return 0

    @abstractmethod
    def ready(self, faiss: Any, built: Any, k: int) -> None:
        """Sets the effort of a search for ``k``."""


@dataclass(frozen=True)
class _Flat(_Kind):
    def build(self, faiss: Any, width: int, metric: int, count: int) -> Any:
        return faiss.IndexIDMap(faiss.IndexFlat(width, metric))

    def ready(self, faiss: Any, built: Any, k: int) -> None:
        """Nothing to set: every vector is compared."""


@dataclass(frozen=True)
class _Graph(_Kind):
    m: int = 32
    ef_construction: int = 200
    ef_search: int = 128
    searching = frozenset({"ef_search"})

    def build(self, faiss: Any, width: int, metric: int, count: int) -> Any:
        graph = faiss.IndexHNSWFlat(width, self.m, metric)
        graph.hnsw.efConstruction = self.ef_construction
        return faiss.IndexIDMap(graph)

    def ready(self, faiss: Any, built: Any, k: int) -> None:
        faiss.downcast_index(built.index).hnsw.efSearch = max(self.ef_search, k)


@dataclass(frozen=True)
class _Clusters(_Kind):
    nlist: int | None = None
    nprobe: int | None = None
    searching = frozenset({"nprobe"})

    def build(self, faiss: Any, width: int, metric: int, count: int) -> Any:
        centres = faiss.IndexFlat(width, metric)
        return faiss.IndexIVFFlat(centres, width, self._lists(count), metric)

    def _lists(self, count: int) -> int:
        if self.nlist is None:
            return max(1, min(int(4 * count**0.5), count // _SHOWN))
        if self.nlist > count:
            raise ConfigError(f"nlist is {self.nlist}; there are {count} vectors to cluster.")
        return self.nlist

    def shown(self, count: int) -> int:
        return min(count, _SHOWN * self._lists(count))

    def ready(self, faiss: Any, built: Any, k: int) -> None:
        built.nprobe = min(self.nprobe or max(8, built.nlist // 16), built.nlist)


_KINDS: Mapping[str, type[_Kind]] = {
    "faiss": _Flat,
    "faiss-hnsw": _Graph,
    "faiss-ivf": _Clusters,
}


class FaissIndex(FeatureIndex):
    """Searches an index of faiss, which holds the vectors in memory.

    The result of a build in several threads may differ from one to the next for ``faiss-hnsw``.

    Args:
        vectors: the column.
        metric: what near means.
        kind: how to search.
        built: the index, with the rows' numbers.
    """

    def __init__(self, vectors: StoredVectors, metric: Metric, kind: _Kind, built: Any) -> None:
        super().__init__(vectors, metric)
        self.kind, self.built = kind, built

    @classmethod
    def of(
        cls,
        path: str | Path,
        column: str | None,
        backend: str,
        metric: Metric,
        verify: bool,
        options: Mapping[str, Any],
    ) -> FaissIndex:
        """The saved index, or a new one; see ``mmfuse.features.index``."""
        faiss, kind = load_faiss(), _kind(backend, options)
        vectors = StoredVectors(path, column)
        file = vectors.folder.path / "index" / f"{quote(vectors.column, '')}-{metric}-{backend}"
        saved = _Saved(file, vectors.folder, kind)
        built = saved.load(faiss)
        if built is None:
            if verify:
                vectors.folder.verified()
            built = _build(faiss, vectors, metric, kind)
            saved.save(faiss, built)
        return cls(vectors, metric, kind, built)

    def __len__(self) -> int:
        """How many rows can be found."""
        return int(self.built.ntotal)

    def _keys(self, queries: Tensor, k: int) -> Tensor:
        self.kind.ready(load_faiss(), self.built, k)
        found, rows = map(
            torch.from_numpy, self.built.search(_as_searched(queries, self.metric), k)
        )
        # faiss squares distances, and rounds some of nothing to less than nothing.
        nearness = -found.clamp(min=0).sqrt() if self.metric == "l2" else found
        keys = keys_of(nearness, rows).masked_fill(rows < 0, NOBODY)
        return keys.sort(dim=1, descending=True).values


@dataclass(frozen=True)
class _Saved:
    """An index on the disk: the file of faiss, and what it was made from, written after it."""

    stem: Path
    folder: FeatureFolder
    kind: _Kind

    @property
    def _file(self) -> Path:
        return self.stem.with_name(self.stem.name + ".faiss")

    @property
    def _note(self) -> Path:
        return self.stem.with_name(self.stem.name + ".json")

    def _facts(self) -> dict[str, Any]:
        options = asdict(self.kind).items()
        return {
            "features": sha256(self.folder.path / "manifest.json"),
            "options": {k: v for k, v in options if k not in self.kind.searching},
            "bytes": self._file.stat().st_size if self._file.is_file() else None,
        }

    def load(self, faiss: Any) -> Any | None:
        """The index, or None if there is none of these features and options."""
        if not (self._note.is_file() and self._file.is_file()):
            return None
        try:
            found, wanted = json.loads(self._note.read_text()), self._facts()
            differing = [k for k, v in wanted.items() if found.get(k) != v]
            if not differing:
                return faiss.read_index(str(self._file))
        except (OSError, ValueError, AttributeError, RuntimeError) as error:
            differing = [f"it cannot be read ({type(error).__name__})"]
        _log.warning("%s is built again: other %s.", self._file, ", ".join(differing))
        return None

    def save(self, faiss: Any, built: Any) -> None:
        """Writes the index; killed at any moment, none is there or a whole one."""
        try:
            self._note.unlink(missing_ok=True)
            with replacing(self._file) as part:
                faiss.write_index(built, str(part))
        except (OSError, RuntimeError) as error:
            if isinstance(error, MmfuseError):
                raise
            raise OutputError(
                f"Cannot write {self._file}: {error}. Check space and permissions, or take the "
                "exact backend, which writes nothing."
            ) from error
        write_json(self._facts(), self._note)


def load_faiss() -> Any:
    """The faiss package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "faiss is not installed. Give pip install mmfuse[search], or take the exact backend."
        ) from error
    return faiss


def _kind(backend: str, options: Mapping[str, Any]) -> _Kind:
    kind = _KINDS[backend]
    known = [f.name for f in fields(kind)]
    if unknown := [name for name in options if name not in known]:
        raise ConfigError(
            f"The {backend} backend has no option {unknown}; it has {', '.join(known) or 'none'}."
        )
    for name, value in options.items():
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} is {value!r}; expected a whole number from 1 up.")
    return kind(**options)


def _as_searched(values: Tensor, metric: Metric) -> np.ndarray:
    return (F.normalize(values) if metric == "cosine" else values).numpy()


def _build(faiss: Any, vectors: StoredVectors, metric: Metric, kind: _Kind) -> Any:
    require_some(vectors)
    count = sum(len(rows) for rows, _ in vectors.blocks())
    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    built = kind.build(faiss, vectors.width, measure, count)
    if shown := kind.shown(count):
        built.train(_as_searched(_spread(vectors, count, shown), metric))
    for rows, values in vectors.blocks():
        built.add_with_ids(_as_searched(values, metric), rows.numpy())
    return built


def _spread(vectors: StoredVectors, count: int, wanted: int) -> Tensor:
    """``wanted`` of the vectors, evenly spread."""
    chosen = torch.linspace(0, count - 1, wanted, dtype=torch.float64).long()
    found, start = [], 0
    for rows, values in vectors.blocks():
        mine = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
        found.append(values[mine])
        start += len(rows)
    return torch.cat(found)
