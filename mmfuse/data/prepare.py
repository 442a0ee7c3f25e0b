"""Prepare: a source -> splits, checked content, statistics of the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from mmfuse.data.cells import Cells, fill_of, recoding, seen_levels
from mmfuse.data.columns import Column, NumberColumn, Numeric, column_of
from mmfuse.data.content import (
    blocks,
    check_classes,
    check_numbers,
    check_somewhere,
    extent,
    find_duplicates,
    moments,
)
from mmfuse.data.facts import Facts
from mmfuse.data.modalities import STEPPED, nobody
from mmfuse.data.source import Source
from mmfuse.data.split import split_rows, strata_of
from mmfuse.data.survival import event_strata, outcomes_of
from mmfuse.data.targets import code_target, decide_kind, fit_target, numbers_of
from mmfuse.errors import DataError, UnknownModalityError
from mmfuse.spec import DataSpec, ModalitySpec

Duplicates = Literal["error", "drop", "allow"]
MissingCells = Literal["error", "mean", "keep"]
Scale = Literal["deviation", "range"]


@dataclass(frozen=True)
class Options:
    """What ``FusionDataModule`` was told; see there."""

    val: float
    test: float
    seed: int
    standardise: bool
    scale: Scale
    missing_cells: MissingCells
    on_duplicates: Duplicates
    is_class_weighted: bool
    survival_bins: int


@dataclass(frozen=True)
class Ready:
    """Data as batches need it.

    Args:
        spec: modalities and targets with the training rows' statistics.
        columns: each modality's reader.
        targets: each target's values, one line a row.
        facts: what simulators may know of the rows.
        parts: row numbers of each split, ascending.
        dropped: rows left out because another split has their double.
    """

    spec: DataSpec
    columns: Mapping[str, Column]
    targets: Mapping[str, Tensor]
    facts: Facts
    parts: Mapping[str, Tensor]
    dropped: list[int]


def prepare(
    source: Source,
    options: Options,
    adopted: DataSpec | None = None,
    raw: Source | None = None,
) -> Ready:
    """Splits, checks and measures a source.

    Args:
        source: the rows.
        options: how.
        adopted: the spec of a model trained before, whose statistics, classes and levels
            count instead of those of the training rows.
        raw: the source before features took the place of raw modalities, and before any was
            left out, which decides what is a double; None for the source itself.

    Raises:
        DataError: the content is not what it claims to be; the message names the place.
        UnknownModalityError: an adopted spec has a modality that the source lacks.
    """
    columns = _columns(source)
    if adopted is not None:
        columns = _fitting(source, columns, adopted)
    gaps = _check_cells(source, columns, options, adopted)
    present = _present(columns)
    judged = columns if raw is None or raw is source else _columns(raw)
    parts, dropped = _without_duplicates(judged, _split(source, options), options)
    train = parts["train"]
    if adopted is None:
        if not len(train):
            raise DataError("The train split is empty. Give it rows, or lower val and test.")
        spec, targets = _measure(source, columns, parts, options, gaps)
        check_somewhere(spec, present, train)
        check_classes(spec, targets, present, train)
    else:
        spec = adopted
        targets = {
            t: code_target(t, source.targets[t], s)
            for t, s in spec.targets.items()
            if t in source.targets
        }
    for m, s in spec.modalities.items():
        _finish(columns[m], source.modalities[m], s, options)
    tensors = {name: torch.from_numpy(np.sort(rows)) for name, rows in parts.items()}
    facts = Facts(spec, columns, targets, tensors["train"], source.groups)
    return Ready(spec, columns, targets, facts, tensors, dropped)


def _columns(source: Source) -> dict[str, Column]:
    return {
        m: column_of(source.data.data.column(m), m, s, source.root)
        for m, s in source.modalities.items()
    }


def _present(columns: Mapping[str, Column]) -> Tensor:
    return torch.from_numpy(np.stack([c.present for c in columns.values()], axis=1))


def _check_cells(
    source: Source, columns: Mapping[str, Column], options: Options, adopted: DataSpec | None
) -> set[str]:
    """The modalities of which some present row keeps a missing cell."""
    gaps = set()
    for m, column in columns.items():
        known = None if adopted is None else adopted.modalities[m]
        is_filled = options.missing_cells == "mean" and isinstance(column, NumberColumn)
        is_filled = is_filled and (known is None or bool(known.mean))
        is_kept = options.missing_cells == "keep"
        if not check_numbers(m, column, source.modalities[m], is_filled or is_kept) or is_filled:
            continue
        if known is not None and not known.has_gaps:
            raise DataError(
                f"Modality {m!r}: cells of present rows are missing, and the model was trained "
                'without any. Set missing_cells="mean", or train on rows that have gaps.'
            )
        gaps.add(m)
    return gaps


def _split(source: Source, options: Options) -> dict[str, np.ndarray]:
    labels = None
    for name, raw in list(source.targets.items())[:1]:
        if raw.kind == "survival":
            labels = event_strata(outcomes_of(name, numbers_of(name, raw)))
        elif raw.values.ndim > 1:
            continue
        elif decide_kind(name, raw) == "regression":
            labels = strata_of(numbers_of(name, raw))
        else:
            labels = pd.factorize(pd.Series(raw.values))[0]
    return split_rows(
        len(source.data),
        source.split,
        labels,
        source.groups,
        options.val,
        options.test,
        options.seed,
    )


def _without_duplicates(
    columns: Mapping[str, Column], parts: dict[str, np.ndarray], options: Options
) -> tuple[dict[str, np.ndarray], list[int]]:
    if options.on_duplicates == "allow":
        return parts, []
    found = find_duplicates(columns, _present(columns), parts)
    if found and options.on_duplicates == "error":
        shown = "; ".join(f"{a} row {i} = {b} row {j}" for a, i, b, j in found[:3])
        raise DataError(
            f"{len(found)} row(s) occur in two splits with the same content ({shown}). Mend the "
            'split, or set on_duplicates to "drop" (leaves them out of the earlier of train, '
            'val, test) or "allow".'
        )
    dropped = sorted({i for _, i, _, _ in found})
    return {name: np.setdiff1d(rows, dropped) for name, rows in parts.items()}, dropped


def _measure(
    source: Source,
    columns: Mapping[str, Column],
    parts: Mapping[str, np.ndarray],
    options: Options,
    gaps: set[str],
) -> tuple[DataSpec, dict[str, Tensor]]:
    """Classes, levels, means and deviations of the training rows."""
    modalities = {}
    for m, s in source.modalities.items():
        column = columns[m]
        if isinstance(column, NumberColumn) and s.levels:
            seen = [seen_levels(s, b.values) for b in blocks(column, parts["train"])]
            levels = tuple(tuple(sorted(set().union(*each))) for each in zip(*seen, strict=True))
            s = replace(s, levels=levels, categories=tuple(len(names) + 1 for names in levels))
        is_scaled = options.standardise and m not in source.as_is
        if is_scaled and isinstance(column, Numeric) and s.numeric_width:
            measure = moments if options.scale == "deviation" else extent
            mean, std = measure(s, column, parts["train"])
            s = replace(s, mean=mean, std=std)
        modalities[m] = replace(s, has_gaps=m in gaps)
    fitted = {
        t: fit_target(t, raw, parts, options.is_class_weighted, options.survival_bins)
        for t, raw in source.targets.items()
    }
    spec = DataSpec(modalities, {t: s for t, (s, _) in fitted.items()})
    return spec, {t: values for t, (_, values) in fitted.items()}


def _fitting(source: Source, columns: Mapping[str, Column], adopted: DataSpec) -> dict[str, Column]:
    """The columns that a trained model reads, in its order."""
    if absent := [m for m in adopted.modalities if m not in source.modalities]:
        raise UnknownModalityError(
            f"The model knows {list(adopted.modalities)}; the data lack {absent}. Name the "
            "columns that hold them; rows may be empty there."
        )
    fitting = {}
    for m, s in adopted.modalities.items():
        found = source.modalities[m]
        if not columns[m].present.any():
            nulls, _ = nobody(len(source.data))
            fitting[m] = column_of(pa.chunked_array([nulls]), m, s)
            continue
        if found.columns and s.columns and _roles(found) != _roles(s):
            raise DataError(
                f"Modality {m!r}: the model reads {_roles(s)}, the data hold {_roles(found)}. "
                "Give the columns of training; a column that is empty here counts as numbers "
                "unless `categorical` names it."
            )
        if _differ_in_steps_alone(found, s):
            fitting[m] = column_of(source.data.data.column(m), m, s)
            continue
        if (found.kind, found.shape) != (s.kind, s.shape):
            raise DataError(
                f"Modality {m!r}: the model expects {s.kind} rows of shape {s.shape}, the data "
                f"hold {found.kind} rows of shape {found.shape}. Give the columns of training."
            )
        # Anew, as the model's spec says which rate a sound must have.
        fitting[m] = column_of(source.data.data.column(m), m, s, source.root)
    return fitting


def _differ_in_steps_alone(found: ModalitySpec, wanted: ModalitySpec) -> bool:
    """Whether one has a number of steps and the other has not: a few rows do not tell."""
    if wanted.kind not in STEPPED or found.kind not in ("vector", wanted.kind) or found.columns:
        return False
    channels = 1 if found.kind == "vector" else found.width
    is_open = found.shape[0] is None, wanted.shape[0] is None
    return channels == wanted.width and is_open[0] != is_open[1]


def _roles(spec: ModalitySpec) -> str:
    """Which columns are numbers and which categories, in words."""
    numbers, categories = spec.columns[: spec.numeric_width], spec.columns[spec.numeric_width :]
    return f"numbers {list(numbers)} and categories {list(categories)}"


def _finish(column: Column, found: ModalitySpec, spec: ModalitySpec, options: Options) -> None:
    if not isinstance(column, NumberColumn) or not column.present.any():
        return
    fill = fill_of(spec) if options.missing_cells == "mean" and spec.mean else None
    recode = recoding(found.levels, spec.levels)
    if fill is not None or recode:
        column.cells = Cells(fill, recode)
