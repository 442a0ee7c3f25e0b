"""Targets: labels and values as a person has them -> tensors and a TargetSpec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfuse.data.survival import fit_survival, outcomes_of
from mmfuse.errors import DataError
from mmfuse.spec import TargetKind, TargetSpec


@dataclass(frozen=True)
class RawTarget:
    """One target before training rows are known.

    Args:
        values: (N,) labels or numbers, None or NaN where unknown; or (N, L); for survival
            (N, 2) times and events.
        kind: what it is; None decides by the values: numbers with a fraction are
            regression, (N, L) of 0 and 1 several labels at once, everything else classes
            (as scikit-learn's ``type_of_target``).
        names: the labels' names, for (N, L).
    """

    values: np.ndarray
    kind: TargetKind | None = None
    names: tuple[str, ...] = ()


def decide_kind(name: str, target: RawTarget) -> TargetKind:
    """The declared kind, or what the values look like.

    Raises:
        DataError: nearly every value is a class of its own.
    """
    if target.kind is not None:
        return target.kind
    if target.values.ndim == 2:
        flat = numbers_of(name, target)
        return "multilabel" if set(np.unique(flat[~np.isnan(flat)])) <= {0, 1} else "regression"
    known = pd.Series(target.values, dtype=object).dropna().map(_tidy)
    if known.map(lambda v: isinstance(v, float)).any():
        return "regression"
    classes = known[known != -1].nunique()
    if classes > max(20, len(known) / 2):
        raise DataError(
            f"Target {name!r} has {classes} different values in {len(known)} rows; as classes "
            'they cannot be learned. Declare it "regression" in target_kinds, or check the column.'
        )
    return "binary" if classes <= 2 else "multiclass"


def numbers_of(name: str, target: RawTarget) -> np.ndarray:
    """The values as numbers, NaN where unknown.

    Raises:
        DataError: a value that is no number.
    """
    try:
        return target.values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Target {name!r} holds a value that is no number ({error}). Correct the column, or "
            "declare classes in target_kinds."
        ) from error


def fit_target(
    name: str,
    target: RawTarget,
    parts: Mapping[str, np.ndarray],
    is_weighted: bool = False,
    bins: int = 4,
) -> tuple[TargetSpec, Tensor]:
    """Classes or scale from the training rows, and every row's value as a tensor.

    Args:
        name: the target, for errors.
        target: the values.
        parts: row numbers of each split.
        is_weighted: weigh classes by the inverse of their training frequency.
        bins: time bins of a survival target; 0 for Cox's model.

    Raises:
        DataError: no labelled training row, one class only, a label that training lacks,
            a class count that contradicts the declared kind; for survival see ``outcomes_of`` and
            ``fit_survival``.
    """
    train = parts["train"]
    kind = decide_kind(name, target)
    if kind in ("binary", "multiclass"):
        return _fit_classes(name, target, kind, parts, is_weighted)
    if kind == "survival":
        times = outcomes_of(name, numbers_of(name, target))
        return fit_survival(name, times[train], bins), torch.from_numpy(times)
    values = numbers_of(name, target)
    known = values[train][np.isfinite(values[train].reshape(len(train), -1)).all(axis=1)]
    if not len(known):
        raise DataError(f"Target {name!r}: no training row has a value. Check the column.")
    if kind == "multilabel":
        return _fit_labels(name, target, values, known, is_weighted)
    width = 1 if values.ndim == 1 else values.shape[1]
    spread = known.reshape(len(known), -1).std(axis=0)
    if (spread == 0).any():
        raise DataError(
            f"Target {name!r} has one value only in the training rows ({known.flat[0]}); there is "
            "nothing to learn. Check the column and the split."
        )
    mean = known.reshape(len(known), -1).mean(axis=0)
    spec = TargetSpec(
        "regression", width=width, mean=tuple(map(float, mean)), std=tuple(map(float, spread))
    )
    return spec, torch.from_numpy(values.astype(np.float32))


def _fit_labels(
    name: str, target: RawTarget, values: np.ndarray, known: np.ndarray, is_weighted: bool
) -> tuple[TargetSpec, Tensor]:
    found = set(np.unique(known).tolist()) - {0.0, 1.0}
    if values.ndim != 2 or found:
        raise DataError(
            f"Target {name!r} is multilabel: expected rows of 0 and 1, found shape {values.shape}"
            f" and values {sorted(found)[:5]}."
        )
    names = target.names or tuple(str(i) for i in range(values.shape[1]))
    positive = known.mean(axis=0).clip(1e-6, 1)
    weights = tuple(float(w) for w in (1 - positive) / positive) if is_weighted else ()
    return TargetSpec("multilabel", names, weights), torch.from_numpy(values.astype(np.float32))


def _fit_classes(
    name: str,
    target: RawTarget,
    kind: TargetKind,
    parts: Mapping[str, np.ndarray],
    is_weighted: bool,
) -> tuple[TargetSpec, Tensor]:
    labels, unknown = _labels(target)
    train = labels.iloc[parts["train"]][~unknown.iloc[parts["train"]].to_numpy()]
    classes = sorted(set(train), key=_sort_key)
    if len(classes) < 2:
        raise DataError(
            f"Target {name!r} has {len(classes)} class in the training rows"
            f"{f' ({classes[0]!r})' if classes else ''}; expected two or more. "
            "Check the column and the split."
        )
    if kind == "binary" and len(classes) != 2:
        raise DataError(f"Target {name!r} is declared binary but has classes {classes[:10]}.")
    for split, rows in parts.items():
        seen = labels.iloc[rows][~unknown.iloc[rows].to_numpy()]
        if strange := sorted(set(seen) - set(classes), key=_sort_key):
            raise DataError(
                f"Target {name!r}: the {split} rows hold {strange[:5]}, which no training row has "
                f"(training has {classes[:10]}). Correct the labels or the split."
            )
    counts = train.value_counts()
    shares = tuple(float(counts[c] / len(train)) for c in classes)
    weights: tuple[float, ...] = ()
    if is_weighted:
        weights = tuple(float(len(train) / (len(classes) * counts[c])) for c in classes)
    spec = TargetSpec(kind, tuple(map(str, classes)), weights, shares=shares)
    return spec, code_target(name, target, spec)


def code_target(name: str, target: RawTarget, spec: TargetSpec) -> Tensor:
    """Every row's value as a tensor, by the classes of a training done before.

    Raises:
        DataError: a label that the training did not have, or another number of values.
    """
    if spec.kind == "survival":
        return torch.from_numpy(outcomes_of(name, numbers_of(name, target)))
    if spec.kind not in ("binary", "multiclass"):
        values = torch.from_numpy(numbers_of(name, target).astype(np.float32))
        width = 1 if values.dim() == 1 else values.shape[1]
        if width != spec.out_dim:
            raise DataError(f"Target {name!r} has {width} values a row, the model {spec.out_dim}.")
        return values
    labels, unknown = _labels(target)
    code = {c: i for i, c in enumerate(spec.classes)}
    names = labels.map(str)
    if strange := sorted(set(names[~unknown]) - set(code)):
        raise DataError(
            f"Target {name!r} holds {strange[:5]}; the model's classes are "
            f"{list(spec.classes)[:10]}. Correct the labels, or train again."
        )
    return torch.tensor(
        [-1 if u else code[v] for v, u in zip(names, unknown, strict=True)], dtype=torch.long
    )


def _labels(target: RawTarget) -> tuple[pd.Series, pd.Series]:
    """Labels with whole numbers as such, and where they are unknown (empty, or -1)."""
    labels = pd.Series(target.values, dtype=object).map(_tidy)
    return labels, labels.isna() | labels.map(lambda v: isinstance(v, int) and v == -1)


def _tidy(label: Any) -> Any:
    """Whole numbers read as floats (a column with gaps) are whole numbers."""
    label = label.item() if isinstance(label, np.generic) else label
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _sort_key(label: Any) -> tuple[str, Any]:
    return (type(label).__name__, label)
