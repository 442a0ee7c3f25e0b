"""Labels: what features say of a few rows beside their vectors, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors import safe_open
from torch import Tensor

from mmfuse.store import SPLITS, FeatureFolder

Labels = dict[str, str]
_TARGET = "target."


def labels_of(path: str | Path, rows: Sequence[int]) -> list[Labels]:
    """Split and targets of some rows, by column; what a row lacks is empty.

    Args:
        path: the folder of the features.
        rows: their numbers.

    Raises:
        MissingFileError, DataError: as ``FeatureFolder.manifest``.
    """
    folder = FeatureFolder(path)
    manifest = folder.manifest()
    targets = manifest["spec"]["targets"]
    read = _of_parquet if manifest["kind"] == "parquet" else _of_safetensors
    found: dict[int, Labels] = {}
    for shard in manifest["shards"]:
        if shard["rows"] and len(found) < len(set(rows)):
            found |= read(folder.path / shard["file"], targets, list(rows))
    return [found[row] for row in rows]


def _of_parquet(file: Path, targets: Mapping[str, Any], rows: list[int]) -> dict[int, Labels]:
    stored = pq.ParquetFile(file, memory_map=True)
    names = [n for n in stored.schema_arrow.names if n == "split" or n.startswith("target.")]
    table = stored.read(["row", *names])
    places = np.flatnonzero(np.isin(table["row"].to_numpy(), rows))
    return {r.pop("row"): _told(r, targets) for r in table.take(places).to_pylist()}


def _of_safetensors(file: Path, targets: Mapping[str, Any], rows: list[int]) -> dict[int, Labels]:
    with safe_open(file, "pt") as stored:
        names, there = ["row", "split", *(f"{_TARGET}{t}" for t in targets)], set(stored.keys())
        tensors = {n: stored.get_tensor(n) for n in names if n in there}
    found = {}
    for i in np.flatnonzero(np.isin(tensors["row"].numpy(), rows)):
        here = {n: v[i] for n, v in tensors.items() if n not in ("row", "split")}
        values = {n: _value(v, targets[n.removeprefix(_TARGET)]) for n, v in here.items()}
        split = [*SPLITS, None][int(tensors["split"][i])]
        found[int(tensors["row"][i])] = _told({"split": split, **values}, targets)
    return found


def _value(value: Tensor, spec: Mapping[str, Any]) -> Any:
    if spec["kind"] in ("binary", "multiclass"):
        return [*spec["classes"], None][int(value)]
    return value.tolist()


def _told(values: Mapping[str, Any], targets: Mapping[str, Any]) -> Labels:
    return {n: _words(v, targets.get(n.removeprefix(_TARGET))) for n, v in values.items()}


def _words(value: Any, spec: Mapping[str, Any] | None) -> str:
    if isinstance(value, list):
        if spec is not None and spec["kind"] == "multilabel":
            return ", ".join(c for c, v in zip(spec["classes"], value, strict=True) if v == 1)
        return ", ".join(_words(v, None) for v in value)
    if value is None or value != value:  # NaN is unknown
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
