"""Source: what a reader of some format hands over, before any split or statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from mmfuse.data.modalities import Column, to_column
from mmfuse.data.survival import Survival, survival_of
from mmfuse.data.targets import RawTarget
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.spec import Kind, ModalitySpec, TargetKind


@dataclass(frozen=True)
class Source:
    """Rows, and what is known of them.

    Args:
        data: one column a modality, null where absent.
        modalities: what each looks like, without statistics; a table's ``levels`` and codes
            are those of the whole source.
        targets: by name; may be empty.
        split: each row's split by name, or None.
        groups: rows of one group stay in one split, or None.
        root: the folder that paths of files start from.
        as_is: modalities that the model reads as they are, without standardisation.
    """

    data: datasets.Dataset
    modalities: Mapping[str, ModalitySpec]
    targets: Mapping[str, RawTarget] = field(default_factory=dict)
    split: np.ndarray | None = None
    groups: np.ndarray | None = None
    root: Path = Path()
    as_is: frozenset[str] = frozenset()


def gather(
    inputs: Mapping[str, Any],
    targets: Mapping[str, Any] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    categorical: Mapping[str, Sequence[Any]] | None = None,
    target_kinds: Mapping[str, TargetKind] | None = None,
    split: Any = None,
    groups: Any = None,
) -> Source:
    """Makes a source from values in memory; see ``to_column`` for what a modality may be.

    Raises:
        ConfigError: ``kinds``, ``categorical`` or ``target_kinds`` name something unknown.
        DataError: modalities or targets of unequal length, or none at all.
    """
    kinds, categorical = kinds or {}, categorical or {}
    _known("kinds", kinds, inputs)
    _known("categorical", categorical, inputs)
    columns = {m: to_column(m, v, kinds.get(m), categorical.get(m, ())) for m, v in inputs.items()}
    return gather_columns(columns, targets or {}, target_kinds, split, groups)


def gather_columns(
    columns: Mapping[str, Column],
    targets: Mapping[str, Any],
    target_kinds: Mapping[str, TargetKind] | None = None,
    split: Any = None,
    groups: Any = None,
    root: Path = Path(),
) -> Source:
    """Joins Arrow columns and targets, after checking that they have the same rows.

    Raises:
        ConfigError: ``target_kinds`` names an unknown target.
        DataError: unequal lengths, or nothing at all.
    """
    target_kinds = target_kinds or {}
    _known("target_kinds", target_kinds, targets)
    raw = {t: to_target(survival_of(t, v), target_kinds.get(t), t) for t, v in targets.items()}
    lengths = {m: len(c) for m, (c, _) in columns.items()}
    lengths |= {t: len(r.values) for t, r in raw.items()}
    for name, extra in (("split", split), ("groups", groups)):
        if extra is not None:
            lengths[name] = len(extra)
    if not columns or len(set(lengths.values())) != 1 or not max(lengths.values()):
        raise DataError(
            f"Modalities, targets and split have {lengths or 'no'} rows. Give at least one "
            "modality and one row, and the same number of rows for all."
        )
    table = pa.table({m: c for m, (c, _) in columns.items()})
    return Source(
        datasets.Dataset(datasets.table.InMemoryTable(table)),
        {m: spec for m, (_, spec) in columns.items()},
        raw,
        None if split is None else np.asarray(split).astype(str),
        None if groups is None else pd.factorize(np.asarray(groups))[0],
        root,
    )


def to_target(value: Any, kind: TargetKind | None = None, name: str = "y") -> RawTarget:
    """A target from an array, list, Series, DataFrame (one column a label or value) or Survival."""
    if isinstance(value, pd.DataFrame):
        return RawTarget(value.to_numpy(), kind, tuple(map(str, value.columns)))
    if isinstance(value, pd.Series):
        return RawTarget(_lines(value.to_numpy()), kind)
    if isinstance(value, Survival):
        if kind not in (None, "survival"):
            raise ConfigError(
                f"Target {name!r} has a time and an event, and target_kinds calls it {kind}. Leave "
                "it out of target_kinds, or name one column."
            )
        return RawTarget(value.pairs(name), "survival")
    return RawTarget(np.asarray(value), kind)


def only_modalities(source: Source, names: Sequence[str]) -> Source:
    """The source with these modalities and no others, in its own order.

    Raises:
        ConfigError: no name.
        UnknownModalityError: a name that the source has not.
    """
    if not names:
        raise ConfigError("only names no modality. Name one or more, or leave it out for all.")
    if unknown := [m for m in names if m not in source.modalities]:
        raise UnknownModalityError(
            f"only names {unknown}; the data have {list(source.modalities)}. Check the spelling."
        )
    kept = {m: s for m, s in source.modalities.items() if m in names}
    return replace(source, modalities=kept, as_is=source.as_is & frozenset(kept))


def _lines(values: np.ndarray) -> np.ndarray:
    """``(N, L)`` for a column whose cells are lists, as features on disk have several values."""
    if values.dtype == object and len(values) and isinstance(values[0], np.ndarray | list):
        return np.stack(values.tolist())
    return values


def _known(option: str, given: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    if unknown := sorted(set(given) - set(names)):
        raise ConfigError(f"{option} names {unknown}; known are {list(names)}.")
