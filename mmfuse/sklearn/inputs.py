"""Inputs: what a person gives as X -> a Source, in the form that the model was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa

from mmfuse.data import FusionDataModule
from mmfuse.data.groups import Groups, find_columns, group_of
from mmfuse.data.modalities import Column, to_column
from mmfuse.data.source import Source, gather, gather_columns
from mmfuse.data.tables import source_from_frame
from mmfuse.errors import DataError, UnknownModalityError
from mmfuse.sklearn.arrays import MultimodalArrays
from mmfuse.spec import DataSpec, ModalitySpec


class SourceData(FusionDataModule):
    """Rows that are a ``Source`` already.

    Args:
        source: the rows.
        **kwargs: as ``FusionDataModule``.
    """

    def __init__(self, source: Source, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._source = source

    def read(self) -> Source:
        """The rows."""
        return self._source


def spelled_out(groups: Groups, frame: pd.DataFrame) -> Groups:
    """The groups with every pattern replaced by the columns that it means in ``frame``.

    Raises:
        DataError: a name or pattern that no column matches.
    """
    known = list(frame.columns)
    named = {m: group_of(group) for m, group in groups.items()}
    return {
        m: replace(g, columns=find_columns(g.columns, known, f"Modality {m!r}"))
        for m, g in named.items()
    }


def columns_of(groups: Groups) -> list[Any]:
    """Every column that the groups name, once, in their order."""
    named = [group_of(group).columns for group in groups.values()]
    flat = [c for columns in named for c in ([columns] if isinstance(columns, str) else columns)]
    return list(dict.fromkeys(flat))


def source_of(
    X: MultimodalArrays | pd.DataFrame, groups: Groups, trained: DataSpec | None
) -> Source:
    """The modalities of ``X``.

    Args:
        X: the rows.
        groups: each modality's columns, for a frame.
        trained: what the model was trained on. A modality that it names and ``X`` lacks, or
            has in no row, counts as absent from every row.

    Raises:
        UnknownModalityError: a modality that the model does not know.
        DataError: rows without a common form.
    """
    if isinstance(X, pd.DataFrame):
        return source_from_frame(X, groups)
    if not len(X):
        raise DataError("X has 0 rows. Give at least one.")
    if trained is None:
        return gather(X.arrays)
    if unknown := [m for m in X.modalities if m not in trained.modalities]:
        raise UnknownModalityError(
            f"X has {unknown}; the model was trained on {list(trained.modalities)}. Leave them "
            "out, or train a model with them."
        )
    columns = {m: _column(m, X, spec) for m, spec in trained.modalities.items()}
    return gather_columns(columns, {})


def _column(name: str, X: MultimodalArrays, spec: ModalitySpec) -> Column:
    values = X.arrays.get(name)
    if values is None or _is_blank(values):
        kind = pa.list_(pa.float32()) if spec.shape else pa.string()
        return pa.nulls(len(X), kind), spec
    return to_column(name, values, spec.kind)


def _is_blank(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(v is None for v in values)
