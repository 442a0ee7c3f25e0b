"""load: a folder of features -> a ``datasets.Dataset``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors.torch import load_file

from mmfuse.store.folder import SPLITS, FeatureFolder


def load(path: str | Path, verify: bool = True) -> datasets.Dataset:
    """Extracted features as a data set: one column a feature, null where absent.

    ``row`` is the row in the source, ``split`` its split there, ``target.<name>`` its labels.
    The files are read once into the ``datasets`` cache and memory-mapped from there.

    Args:
        path: the folder that ``mmfuse extract`` or ``Extractor`` wrote.
        verify: compare every file with its digest first.

    Raises:
        MissingFileError: there is no such folder, or its extraction has not ended.
        DataError: a shard or the manifest was changed.
    """
    folder = FeatureFolder(path)
    manifest = folder.verified() if verify else folder.manifest()
    files = [str(folder.path / s["file"]) for s in manifest["shards"] if s["rows"]]
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if manifest["kind"] == "parquet":
            return datasets.Dataset.from_parquet(files)
        return datasets.Dataset.from_generator(_tables, gen_kwargs={"files": files, "of": manifest})
    finally:
        if not shown:
            datasets.enable_progress_bars()


def _tables(files: list[str], of: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of safetensors shards as a person reads them."""
    targets = of["spec"]["targets"]
    names = [*SPLITS, None]
    for file in files:
        tensors = load_file(file)
        rows = {"row": tensors["row"].tolist(), "split": [names[i] for i in tensors["split"]]}
        for name, facts in of["columns"].items():
            rows[name] = _values(name, facts["kind"], tensors)
        for name, spec in targets.items():
            if f"target.{name}" in tensors:
                rows[f"target.{name}"] = _target(tensors[f"target.{name}"], spec)
        for i in range(len(rows["row"])):
            yield {name: values[i] for name, values in rows.items()}


def _values(name: str, kind: str, tensors: dict[str, torch.Tensor]) -> list[Any]:
    # Arrow has no bfloat16.
    stored = tensors[name]
    values = (stored.float() if stored.dtype == torch.bfloat16 else stored).numpy()
    if kind == "vector":
        present = tensors[f"{name}.present"]
        return [v if here else None for v, here in zip(values, present, strict=True)]
    lengths = tensors[f"{name}.lengths"]
    ends = lengths.cumsum(0).tolist()
    spans = zip(ends, lengths.tolist(), strict=True)
    return [values[end - length : end] if length else None for end, length in spans]


def _target(values: torch.Tensor, spec: dict[str, Any]) -> list[Any]:
    if spec["kind"] in ("binary", "multiclass"):
        names = [*spec["classes"], None]
        return [names[i] for i in values]
    return [v.tolist() for v in values]
