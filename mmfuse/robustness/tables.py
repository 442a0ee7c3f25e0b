"""From arrays of predictions to the tables of a RobustnessResult."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.robustness.conditions import Condition
from mmfuse.robustness.importance import modality_importance, sampled_orders
from mmfuse.robustness.metrics import HIGHER_IS_BETTER, Score, is_labelled
from mmfuse.robustness.passes import Predictions
from mmfuse.robustness.result import COLUMNS, empty_table
from mmfuse.robustness.selective import risk_at, wilson
from mmfuse.spec import TargetSpec

Targets = Mapping[str, TargetSpec]

#: Shares of the rows that are answered, in the table ``coverage``.
COVERAGES = np.linspace(0.05, 1, 20)


def class_names(spec: TargetSpec) -> tuple[str, ...]:
    """The classes' names, or their numbers where they have none."""
    if spec.classes or not spec.is_classification:
        return spec.classes
    return ("0", "1") if spec.kind == "binary" else tuple(map(str, range(spec.out_dim)))


def realised_rate(present: NDArray[np.bool_], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``(C,)`` the share of what is ``present`` (N, M) that is not among ``kept`` (C, N, M)."""
    return np.asarray(1 - kept.sum(axis=(1, 2)) / max(int(present.sum()), 1))


def conditions_table(
    conditions: Sequence[Condition],
    scores: Mapping[str, Sequence[Score]],
    realised: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """One line for each condition, target and metric.

    Args:
        conditions: C of them.
        scores: of each target.
        realised: for each target ``(C,)`` what share of its modalities was taken away.
    """
    lines = [
        (
            condition.name,
            condition.family,
            ",".join(condition.kept or ()),
            float(condition.rate),
            float(realised[target][c]),
            score.rows,
            target,
            score.metric,
            score.value[c],
            score.low[c],
            score.high[c],
            HIGHER_IS_BETTER[score.metric],
        )
        for c, condition in enumerate(conditions)
        for target in scores
        for score in scores[target]
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS["conditions"]))


def predictions_table(
    conditions: Sequence[Condition], found: Predictions, targets: Targets
) -> pd.DataFrame:
    """One line for each row, condition, target and output."""
    names = [c.name for c in conditions]
    outputs = {t: _outputs(spec) for t, spec in targets.items()}
    known_outputs = sorted({name for of in outputs.values() for name in of})
    parts = []
    for target, spec in targets.items():
        label, value = found.labels[target], found.values[target]

        def lines(
            output: str,
            label: NDArray[np.float64],
            prediction: NDArray[np.generic],
            target: str = target,
        ) -> dict[str, Any]:
            part = row_lines(found.rows, names, label, prediction)
            size = len(part["row"])
            part["target"] = constant(target, sorted(targets), size)
            part["output"] = constant(output, known_outputs, size)
            return part

        if spec.kind in ("binary", "multiclass"):
            part = lines("", np.where(label < 0, np.nan, label), value.argmax(axis=2))
            for k, name in enumerate(class_names(spec)):
                part[f"p_{name}"] = value[:, :, k].ravel()
            parts.append(part)
            continue
        if spec.kind == "survival":
            part = lines("", label[:, 0], value[:, :, 0])
            part["event"] = np.tile(label[:, 1].astype(np.float32), len(names))
            for k, name in enumerate(spec.outputs[1:], start=1):
                part[f"p_{name}"] = value[:, :, k].ravel()
            parts.append(part)
            continue
        label = label.reshape(len(label), -1)
        for k, name in enumerate(class_names(spec) or tuple(map(str, range(spec.width)))):
            one = value[:, :, k]
            chosen = one > 0.5 if spec.kind == "multilabel" else one
            part = lines(outputs[target][k], label[:, k], chosen)
            if spec.kind == "multilabel":
                part[f"p_{name}"] = one.ravel()
            parts.append(part)
    frames = [pd.DataFrame(part, copy=False) for part in parts]
    table = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    first = list(COLUMNS["predictions"])
    return table[first + [c for c in table.columns if c not in first]]


def _outputs(spec: TargetSpec) -> tuple[str, ...]:
    """What ``output`` says of each line of a row: "" where there is one only."""
    if spec.kind == "multilabel" or (spec.kind == "regression" and spec.width > 1):
        return class_names(spec) or tuple(map(str, range(spec.width)))
    return ("",)


def constant(value: str, known: Sequence[str], size: int) -> Any:
    """A column of one word, of those ``known``."""
    codes = np.full(size, known.index(value), np.int8 if len(known) < 128 else np.int32)
    return pd.Categorical.from_codes(codes, categories=pd.Index(known))  # type: ignore[arg-type]


def row_lines(
    rows: NDArray[np.int64],
    names: Sequence[str],
    label: NDArray[np.float64],
    prediction: NDArray[np.generic],
) -> dict[str, Any]:
    """Columns with a line for each condition and row: ``label`` (N,), ``prediction`` (C, N)."""
    # Ten million lines are soon reached, so that every byte of a column counts.
    small = rows.astype(np.int32) if len(rows) and rows.max() < 2**31 else rows
    return {
        "row": np.tile(small, len(names)),
        "condition": pd.Categorical.from_codes(
            np.repeat(np.arange(len(names), dtype=np.int16), len(rows)),
            categories=pd.Index(names),
        ),
        "label": np.tile(label.astype(np.float32), len(names)),
        "prediction": prediction.astype(np.float32).ravel(),
    }


def coverage_table(
    conditions: Sequence[Condition], found: Predictions, targets: Targets
) -> pd.DataFrame:
    """The share of errors by how many rows are answered, of each target of one class a row."""
    parts = []
    for target, spec in targets.items():
        label = found.labels[target]
        known = is_labelled(spec, label)
        if spec.kind not in ("binary", "multiclass") or not known.any():
            continue
        risk = np.empty((len(conditions), len(COVERAGES)))
        for line, value in zip(risk, found.values[target], strict=True):  # one by one, for memory
            wrong = value[known].argmax(axis=1) != label[known]
            sure = value[known].max(axis=1).astype(np.float64)
            line[:], rows = (x.squeeze() for x in risk_at(sure[None], wrong[None], COVERAGES))
        low, high = wilson(risk, rows)
        part = {
            "condition": np.repeat([c.name for c in conditions], len(COVERAGES)),
            "target": target,
            "coverage": np.tile(COVERAGES, len(conditions)),
            "rows": np.tile(rows.astype(np.int64), len(conditions)),
            "metric": "risk",
            "value": risk.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "higher_is_better": False,
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True) if parts else empty_table("coverage")


def importance_table(
    conditions: Sequence[Condition],
    modalities: Sequence[str],
    read: Mapping[str, Sequence[str]],
    main_metrics: Mapping[str, str],
    scores: Mapping[str, Sequence[Score]],
    seed: int,
) -> tuple[pd.DataFrame, str]:
    """Each modality's part in the main metric, and how its Shapley value came about.

    Args:
        conditions: whose fixed patterns are the subsets.
        modalities: all of the model's, in its order.
        read: for each target those that have a part in it.
        main_metrics: of each target.
        scores: of each target.
        seed: of the orders that an estimate is made from.
    """
    every = [
        (c, kept) for c, condition in enumerate(conditions) if (kept := condition.kept) is not None
    ]
    if not every:
        return empty_table("importance"), "none"
    orders = sampled_orders(modalities, seed=seed)
    lines, ways = [], set()
    for target, names in read.items():
        fixed: dict[frozenset[str], int] = {}
        for c, kept in every:  # what has no part in the target changes nothing
            fixed.setdefault(frozenset(kept) & frozenset(names), c)
        joining = [[m for m in order if m in names] for order in orders]
        metric = main_metrics[target]
        value = next(s.value for s in scores[target] if s.metric == metric)
        parts = modality_importance({s: float(value[c]) for s, c in fixed.items()}, names, joining)
        lines += [
            (target, metric, m, p.shapley, p.shapley_se, p.leave_one_out, p.alone)
            for m, p in parts.items()
        ]
        ways.add(_way(fixed.keys(), names, joining))
    table = pd.DataFrame(lines, columns=list(COLUMNS["importance"]))
    return table, next(way for way in ("none", "estimate", "exact") if way in ways)


def _way(
    known: Collection[frozenset[str]], names: Sequence[str], orders: Sequence[Sequence[str]]
) -> str:
    """How Shapley values come about from the subsets whose scores are known."""
    if len(known) == 2 ** len(names):
        return "exact"
    chains = [[frozenset(o[:k]) for k in range(len(o) + 1)] for o in orders]
    return "estimate" if sum(set(known) >= set(c) for c in chains) > 1 else "none"


def steps_table(names: Sequence[str], scores: Mapping[str, Sequence[Score]]) -> pd.DataFrame:
    """One line for each step, target and metric."""
    if not names:
        return empty_table("steps")
    lines = [
        (step, name, target, score.metric, score.value[step], score.low[step], score.high[step])
        for step, name in enumerate(names)
        for target, all_of_them in scores.items()
        for score in all_of_them
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS["steps"]))


def summary_table(conditions: pd.DataFrame) -> pd.DataFrame:
    """Mean and worst of each family, and the area under the curve over MCAR rates."""
    lines = []
    for (target, metric, family), group in conditions.groupby(
        ["target", "metric", "family"], sort=False
    ):
        defined = group.dropna(subset="value")
        worst, where = math.nan, ""
        if len(defined):
            up = bool(defined["higher_is_better"].iloc[0])
            values = defined["value"].to_numpy(float)
            place = int(values.argmin() if up else values.argmax())
            worst, where = float(values[place]), str(defined["condition"].iloc[place])
        area = math.nan
        if family == "mcar":
            same = (conditions["target"] == target) & (conditions["metric"] == metric)
            curve = conditions[same & conditions["family"].isin(["complete", "mcar"])]
            area = _area(curve["rate"].to_numpy(float), curve["value"].to_numpy(float))
        mean = float(defined["value"].mean()) if len(defined) else math.nan
        lines.append((target, metric, family, len(group), mean, worst, where, area))
    return pd.DataFrame(lines, columns=list(COLUMNS["summary"]))


def _area(rate: NDArray[np.float64], value: NDArray[np.float64]) -> float:
    """Trapezoids under the curve from rate 0 to the highest, divided by that rate."""
    order = np.argsort(rate, kind="stable")
    rate, value = rate[order], value[order]
    if len(rate) < 2 or rate[0] != 0 or rate[-1] == 0:
        return math.nan
    return float(np.trapezoid(value, rate) / rate[-1])
