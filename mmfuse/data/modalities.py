"""Modalities as a person has them (arrays, lists, frames) -> an Arrow column and its spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from mmfuse.data.media import MEDIA, has_fields, is_bytes, is_paths
from mmfuse.data.media_values import is_file, kind_of_value, media_array
from mmfuse.errors import DataError
from mmfuse.spec import Kind, ModalitySpec

Column = tuple[pa.Array, ModalitySpec]
#: Kinds whose rows are steps (or tokens), possibly of unequal number.
STEPPED = ("series", "tokens")


def to_column(
    name: str,
    value: Any,
    kind: Kind | None = None,
    categorical: Sequence[Any] = (),
    rate: int = 0,
) -> Column:
    """One modality's rows as Arrow, null where absent.

    Args:
        name: the modality, for errors.
        value: an array or tensor, one row a line, all NaN where absent; a list of arrays or
            strings, pictures, sounds, videos or files, None where absent; a DataFrame, absent
            where every cell is empty.
        kind: None decides by the axes: rows of one are vectors, of two (steps, channels)
            series, of three (channels, height, width) images; strings are text; PIL's
            pictures, Sounds and Videos are what they are.
        categorical: columns that hold categories; columns of strings always do.
        rate: for audio, samples a second that every row must have; 0 for any.

    Raises:
        DataError: rows that have no common form, or no row at all.
    """
    if not len(value):
        raise DataError(f"Modality {name!r} has 0 rows. Give at least one row.")
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, pd.DataFrame):
        return _from_frame(name, value, categorical)
    has_rate = kind in ("audio", "video")  # and numbers alone do not tell it
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and not has_rate:
        if categorical:
            return _from_frame(name, pd.DataFrame(value.reshape(len(value), -1)), categorical)
        return _from_numbers(name, value, kind)
    rows = [None if _is_null(v) else v for v in value]
    first = next((v for v in rows if v is not None), None)
    if kind in MEDIA or kind_of_value(first) or is_file(first):
        found = _from_media(name, rows, first, kind, rate)
        if found is not None:
            return found
    if isinstance(first, str) and kind == "table":
        return _from_frame(name, pd.DataFrame({name: rows}), ())
    if isinstance(first, str) or kind == "text":
        texts = [None if v is None else str(v) for v in rows]
        return pa.array(texts, pa.string()), ModalitySpec("text")
    return _from_rows(name, rows, kind)


def _is_null(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _from_media(
    name: str, rows: list[Any], first: Any, kind: Kind | None, rate: int
) -> Column | None:
    """Pictures, sounds, videos and files; None for images that are arrays of numbers."""
    kind = _media_kind(name, kind or kind_of_value(first), type(first).__name__)
    if first is None:
        return pa.nulls(len(rows), pa.string()), ModalitySpec(kind, rate=rate)
    if not (isinstance(first, str) or kind_of_value(first) or is_file(first)):
        if kind == "image":
            return None
        raise DataError(
            f"Modality {name!r} is {kind}, and a row is a {type(first).__name__}, which has no "
            "rate. Give an mmfuse.media.Sound or Video, or files."
        )
    return pa.chunked_array([media_array(name, rows, kind)]), ModalitySpec(kind, rate=rate)


def _media_kind(name: str, kind: Kind | None, found: str) -> Kind:
    if kind not in MEDIA:
        raise DataError(
            f"Modality {name!r} holds files, or what files hold ({found}), and its kind is "
            f"{kind or 'not told'}. Say what they are: {', '.join(MEDIA)}."
        )
    return kind


def _from_numbers(
    name: str, value: np.ndarray, kind: Kind | None, absent: np.ndarray | None = None
) -> Column:
    if value.ndim == 1 or (value.ndim == 2 and kind in STEPPED):
        value = value[..., None]
    if value.ndim > 4 or 0 in value.shape[1:]:
        raise DataError(
            f"Modality {name!r}: rows of shape {value.shape[1:]} have no kind. Give vectors, "
            "(steps, channels), or (channels, height, width)."
        )
    spec = ModalitySpec.of(value.shape[1:])
    spec = ModalitySpec(kind or spec.kind, spec.shape)
    flat = np.ascontiguousarray(value.reshape(len(value), spec.size), dtype=np.float32)
    if absent is None:
        absent = np.asarray(np.isnan(flat).all(axis=1))
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(flat.reshape(-1)), flat.shape[1], mask=pa.array(absent)
    )
    return column, spec


def _from_rows(name: str, rows: list[Any], kind: Kind | None) -> Column:
    try:
        arrays = [None if v is None else _numbers(v) for v in rows]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Modality {name!r}: a row is neither numbers nor a string ({error}). Give arrays, "
            "strings, or None where absent."
        ) from error
    arrays = [None if a is None or (a.size and np.isnan(a).all()) else a for a in arrays]
    shapes = {a.shape for a in arrays if a is not None}
    if not shapes:
        return nobody(len(rows))
    if len(shapes) == 1:
        shape = next(iter(shapes))
        blank = np.zeros(shape, np.float32)
        stack = np.stack([blank if a is None else a for a in arrays])
        return _from_numbers(name, stack, kind, np.array([a is None for a in arrays]))
    channels = {s[1:] for s in shapes}
    if len(channels) > 1 or len(next(iter(shapes))) not in (1, 2):
        row, shape = next((i, a.shape) for i, a in enumerate(arrays) if a is not None)
        other = next(s for s in shapes if s != shape)
        raise DataError(
            f"Modality {name!r}: row {row} has shape {shape}, another has {other}. Rows must "
            "agree, but for the number of steps of a series (steps, channels)."
        )
    if kind == "vector":
        raise DataError(
            f"Modality {name!r}: vectors of unequal length: {sorted(s[0] for s in shapes)[:4]}. "
            "Mend the rows, or call it a series."
        )
    return _from_series(arrays, int(np.prod(next(iter(channels)), dtype=int)), kind or "series")


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype == object:  # Parquet's lists of lists
        return np.stack([_numbers(v) for v in value])
    return np.asarray(value, dtype=np.float32)


def _from_series(arrays: list[np.ndarray | None], width: int, kind: Kind) -> Column:
    steps = [
        np.zeros((0, width), np.float32) if a is None else a.reshape(-1, width) for a in arrays
    ]
    offsets = np.concatenate([[0], np.cumsum([len(a) for a in steps])]).astype(np.int32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(steps).reshape(-1)), width)
    absent = pa.array([a is None for a in arrays])
    column = pa.ListArray.from_arrays(pa.array(offsets), values, mask=absent)
    return column, ModalitySpec(kind, (None, width))


def _from_frame(name: str, frame: pd.DataFrame, categorical: Sequence[Any]) -> Column:
    if unknown := [c for c in categorical if c not in frame.columns]:
        raise DataError(f"Modality {name!r} has no column {unknown}; it has {list(frame.columns)}.")
    is_number = {c: c not in categorical and _is_number(frame[c]) for c in frame.columns}
    numbers = [c for c, yes in is_number.items() if yes]
    others = [c for c, yes in is_number.items() if not yes]
    absent = frame.isna().all(axis=1).to_numpy()
    coded = {c: _codes(frame[c]) for c in others}
    parts = [frame[numbers].to_numpy(dtype=np.float32, na_value=np.nan)]
    parts += [codes[:, None].astype(np.float32) for codes, _ in coded.values()]
    column, spec = _from_numbers(name, np.concatenate(parts, axis=1), "vector", absent)
    names = tuple(str(c) for c in (*numbers, *others))
    if not others:
        return column, ModalitySpec("vector", spec.shape, columns=names)
    levels = tuple(levels for _, levels in coded.values())
    counts = tuple(len(names) + 1 for names in levels)
    return column, ModalitySpec("table", spec.shape, counts, levels, names)


def _is_number(column: pd.Series) -> bool:
    # An empty column has the type of whatever read it; it counts as numbers everywhere.
    return bool(pd.api.types.is_numeric_dtype(column) or column.isna().all())


def _codes(column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes from 1 by the sorted levels, 0 where empty, and the levels."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")  # whole numbers read as floats because of gaps
    labels = column.astype("string")
    coded = pd.Categorical(labels, categories=sorted(labels.dropna().unique()))
    return np.asarray(coded.codes) + 1, tuple(coded.categories)


def arrow_column(
    name: str, column: pa.ChunkedArray, kind: Kind | None = None, rate: int = 0
) -> Column | None:
    """A column of strings, files or lists of numbers as it lies in Arrow; None for other types.

    Raises:
        DataError: lists of unequal width, files of unknown kind, or no row at all.
    """
    holds_files = (
        is_bytes(column.type)
        or has_fields(column.type, "bytes", "path")
        or has_fields(column.type, "samples", "rate")
    )
    if holds_files or (is_paths(column.type) and kind in MEDIA):
        return column, ModalitySpec(_media_kind(name, kind, str(column.type)), rate=rate)
    if is_paths(column.type):
        return column, ModalitySpec("text")
    if not _is_list(column.type):
        return None
    outer = _lengths(column)
    if not len(outer):
        return nobody(len(column))
    if not _is_list(column.type.value_type):
        if len(outer) == 1 and kind not in STEPPED:
            return column, ModalitySpec(kind or "vector", (int(outer[0]),))
        if kind == "vector":
            raise DataError(
                f"Modality {name!r}: vectors of unequal length: {sorted(outer.tolist())[:4]}. "
                "Mend the rows, or call it a series."
            )
        return column, ModalitySpec(kind or "series", (None, 1))
    inner = _lengths(pc.list_flatten(column))
    if len(inner) != 1:
        raise DataError(
            f"Modality {name!r}: steps hold {inner[:4].tolist()} numbers; expected one width."
        )
    return column, ModalitySpec(kind or "series", (None, int(inner[0])))


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.unique(pc.list_value_length(column).drop_null()).to_numpy())


def nobody(rows: int) -> Column:
    """A modality that no row has, which therefore does not tell its shape."""
    return pa.nulls(rows, pa.list_(pa.float32())), ModalitySpec("vector", (1,))
