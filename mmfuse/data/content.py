"""Content: checks at the door and statistics, over columns a bounded number of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mmfuse.data.columns import Column, NumberColumn, Numeric, RaggedColumn
from mmfuse.data.media import MediaColumn
from mmfuse.data.split import digest, duplicates
from mmfuse.errors import DataError
from mmfuse.spec import DataSpec, ModalitySpec

_BLOCK = 4096


@dataclass(frozen=True)
class Block:
    """Some present rows of a numeric column.

    Args:
        rows: their numbers.
        values: ``(n, *shape)``, or for series of unequal length all steps ``(sum, channels)``.
        owner: for each line of ``values`` the position in ``rows`` that it belongs to.
    """

    rows: np.ndarray
    values: np.ndarray
    owner: np.ndarray


def blocks(column: NumberColumn | RaggedColumn, rows: np.ndarray) -> Iterator[Block]:
    """Present rows, a bounded number at a time."""
    rows = rows[column.present[rows]]
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        if isinstance(column, NumberColumn):
            yield Block(part, column.take(part), np.arange(len(part)))
        else:
            series = [v for v in column.take(part) if v is not None]
            owner = np.repeat(np.arange(len(part)), [len(v) for v in series])
            yield Block(part, np.concatenate(series), owner)


def check_numbers(name: str, column: Column, spec: ModalitySpec, may_have_gaps: bool) -> bool:
    """Refuses NaN or infinity in a row that counts as present, and a series without a step.

    Args:
        name: the modality.
        column: its rows.
        spec: names its columns.
        may_have_gaps: NaN cells are filled later, or an encoder takes them.

    Returns:
        whether cells of present rows are NaN

    Raises:
        DataError: naming the row and the column.
    """
    if not isinstance(column, Numeric):
        return False
    has_gaps = False
    for block in blocks(column, np.arange(len(column))):
        if isinstance(column, RaggedColumn):
            empty = np.setdiff1d(np.arange(len(block.rows)), block.owner)
            if len(empty):
                raise DataError(
                    f"Modality {name!r}: row {block.rows[empty[0]]} counts as present but has no "
                    "step. Mark it absent (None)."
                )
        wrong = ~np.isfinite(block.values)
        if may_have_gaps and wrong.any():
            gaps = np.isnan(block.values)
            has_gaps = has_gaps or bool(gaps.any())
            wrong &= ~gaps
        if not wrong.any():
            continue
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        named = repr(spec.columns[place[-1]]) if len(spec.columns) > place[-1] else str(place[1:])
        raise DataError(
            f"Modality {name!r}: row {block.rows[block.owner[place[0]]]} counts as present but "
            f"holds {block.values[place]} at {named}. Mark the whole row absent (None, or every "
            'cell empty), fill the cell, or set missing_cells to "mean" or "keep".'
        )
    return has_gaps


def check_somewhere(spec: DataSpec, present: Tensor, train: np.ndarray) -> None:
    """Refuses a modality that no training row has.

    Raises:
        DataError: naming the modality.
    """
    for i, m in enumerate(spec.modalities):
        if not present[train, i].any():
            raise DataError(
                f"Modality {m!r} is absent from all {len(train)} training rows; nothing "
                "can be learned of it. Leave it out, or check the split and its column."
            )


def check_classes(
    spec: DataSpec, targets: Mapping[str, Tensor], present: Tensor, train: np.ndarray
) -> None:
    """Refuses a class whose training rows all lack every modality.

    Raises:
        DataError: naming the class.
    """
    anyone = present[train].any(dim=1)
    for name, target in spec.targets.items():
        if target.kind not in ("binary", "multiclass"):
            continue
        labels = targets[name][train]
        for k, label in enumerate(target.classes):
            if not anyone[labels == k].any():
                raise DataError(
                    f"Target {name!r}: no training row of class {label!r} has any modality. "
                    "Check how rows are joined with their modalities."
                )


def find_duplicates(
    columns: Mapping[str, Column], present: Tensor, parts: Mapping[str, np.ndarray]
) -> list[tuple[str, int, str, int]]:
    """Rows that occur in two splits with the same content in every modality.

    Files are told by their size first; only rows that agree in it, and in all else, with a row
    of another split are read.
    """
    rows = np.flatnonzero(present.any(dim=1).numpy())
    if any(isinstance(c, MediaColumn) for c in columns.values()):
        rows = _in_two_splits(_digests(columns, rows, by_size=True), parts)
    return duplicates(
        _digests(columns, rows), {name: np.intersect1d(part, rows) for name, part in parts.items()}
    )


def _in_two_splits(digests: np.ndarray, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The rows whose digest, which is not None, occurs in two splits."""
    homes: dict[bytes, set[str]] = {}
    for name, part in parts.items():
        for row in part:
            homes.setdefault(digests[row], set()).add(name)
    return np.array(
        [i for i, d in enumerate(digests) if d is not None and len(homes.get(d, ())) > 1], int
    )


def _digests(columns: Mapping[str, Column], rows: np.ndarray, by_size: bool = False) -> np.ndarray:
    """A digest of each of ``rows``, None elsewhere; files by their size if ``by_size``."""
    digests = np.empty(len(next(iter(columns.values()))), dtype=object)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        parts = [_contents(column, block, by_size) for column in columns.values()]
        for row, contents in zip(block, zip(*parts, strict=True), strict=True):
            digests[row] = digest(list(contents))
    return digests


def _contents(column: Column, rows: np.ndarray, by_size: bool) -> Iterator[bytes | None]:
    """What tells each row from others, one at a time; None where absent."""
    present = column.present[rows]
    if not isinstance(column, MediaColumn):
        for value, is_there in zip(column.take(rows), present, strict=True):
            yield _bytes(value) if is_there else None
        return
    for row, is_there in zip(rows.tolist(), present, strict=True):
        if not is_there:
            yield None
        else:
            yield _bytes(column.sizes[row]) if by_size else column.content(row)


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()


def moments(
    spec: ModalitySpec, column: NumberColumn | RaggedColumn, train: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each feature over the present training rows; never zero.

    One pass in float64 (Chan's merge of partial sums of squares); missing cells count in
    neither. A constant feature has deviation 1.
    """
    numbers = spec.numeric_width
    count, mean, squares = np.zeros(numbers), np.zeros(numbers), np.zeros(numbers)
    for block in blocks(column, train):
        lines = _features(spec, block.values).astype(np.float64)
        known = ~np.isnan(lines)
        new = known.sum(axis=0)
        new_mean = np.where(known, lines, 0).sum(axis=0) / np.maximum(new, 1)
        new_squares = np.where(known, (lines - new_mean) ** 2, 0).sum(axis=0)
        total, gap = count + new, new_mean - mean
        share = new / np.maximum(total, 1)
        squares += new_squares + gap**2 * count * share
        mean += gap * share
        count = total
    std = np.sqrt(squares / np.maximum(count, 1))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-8, std, 1.0).tolist())


def extent(
    spec: ModalitySpec, column: NumberColumn | RaggedColumn, train: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Minimum and range of each feature over the present training rows; never a range of zero.

    Missing cells count in neither. A constant feature has range 1.
    """
    numbers = spec.numeric_width
    low, high = np.full(numbers, np.inf), np.full(numbers, -np.inf)
    for block in blocks(column, train):
        lines = _features(spec, block.values).astype(np.float64)
        known = ~np.isnan(lines)
        low = np.minimum(low, np.where(known, lines, np.inf).min(axis=0, initial=np.inf))
        high = np.maximum(high, np.where(known, lines, -np.inf).max(axis=0, initial=-np.inf))
    low = np.where(np.isfinite(low), low, 0.0)
    span = np.where(np.isfinite(high), high - low, 0.0)
    return tuple(low.tolist()), tuple(np.where(span > 1e-8, span, 1.0).tolist())


def _features(spec: ModalitySpec, values: np.ndarray) -> np.ndarray:
    """Lines of features: the channels of every pixel, the numbers of every step or row."""
    if spec.kind == "image":
        values = np.moveaxis(values, 1, -1)
    return values.reshape(-1, values.shape[-1])[:, : spec.numeric_width]
