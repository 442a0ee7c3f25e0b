"""Cached: extracted features in place of a raw modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from mmfuse.data.modalities import arrow_column
from mmfuse.data.source import Source
from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import Kind
from mmfuse.store import FeatureFolder, load


def is_sequence(manifest: Mapping[str, Any], column: str) -> bool:
    """Whether a column of a folder of features holds a sequence a row."""
    return bool(manifest["columns"][column]["kind"] == "sequence")


def with_cached(source: Source, cached: Mapping[str, str], content: str) -> Source:
    """The source with extracted features in place of raw modalities.

    Args:
        source: the raw rows.
        cached: a folder of features for each modality to replace.
        content: fingerprint of the source's content.

    Raises:
        ConfigError: the source or the folder lacks the modality, or its encoder was not frozen.
        DataError: the features are of other data, or lack rows.
        MissingFileError: there is no such folder, or its extraction has not ended.
    """
    table, modalities = source.data.data.table, dict(source.modalities)
    for m, path in cached.items():
        manifest = _checked(source, m, path, content)
        name = f"{m}.tokens" if f"{m}.tokens" in manifest["columns"] else m
        found = load(path)
        rows = found.data.column("row").to_numpy()
        values = found.data.column(name).combine_chunks()
        if not np.array_equal(rows, np.arange(len(source.data))):
            place = np.full(len(source.data), -1)
            place[rows] = np.arange(len(rows))
            lacking = np.setdiff1d(np.flatnonzero(place < 0), manifest["skipped"])
            if len(lacking):
                raise DataError(
                    f"{path} lacks {len(lacking)} of the {len(place)} rows, row {lacking[0]} "
                    "first. Extract all splits."
                )
            values = values.take(pa.array(place, mask=place < 0))
        kind: Kind = "tokens" if is_sequence(manifest, name) else "vector"
        arrow = arrow_column(m, pa.chunked_array([values]), kind)
        assert arrow is not None
        column, modalities[m] = arrow
        table = table.set_column(table.column_names.index(m), m, column)
    data = datasets.Dataset(datasets.table.InMemoryTable(table))
    return replace(source, data=data, modalities=modalities, as_is=frozenset(cached))


def _checked(source: Source, modality: str, path: str, content: str) -> dict[str, Any]:
    if modality not in source.modalities:
        raise ConfigError(f"cached names {modality!r}; the data have {list(source.modalities)}.")
    manifest = FeatureFolder(path).manifest()
    columns = [c for c in (modality, f"{modality}.tokens") if c in manifest["columns"]]
    if modality not in manifest["encoders"] or not columns:
        raise ConfigError(
            f"{path} has no features of {modality!r}; it has {list(manifest['columns'])}."
        )
    if not manifest["encoders"][modality]["is_frozen"]:
        raise ConfigError(
            f"The encoder that made the features of {modality!r} in {path} was not frozen, so "
            "training would have changed them. Extract with a frozen encoder; or read the "
            "folder as FeatureData."
        )
    if manifest["data"]["fingerprint"] != content:
        raise DataError(
            f"The features of {modality!r} in {path} are of other data. Extract them from this "
            "data, with this configuration."
        )
    return manifest
