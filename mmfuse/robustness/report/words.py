"""Sentences and numbers of a report, in plain language and made from the tables alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mmfuse.robustness.report.study import Study

_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "ece": "ECE",
    "brier": "Brier score",
    "nll": "NLL",
    "aurc": "AURC",
    "e_aurc": "E-AURC",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "c_index": "C-index",
    "c_index_ipcw": "C-index (IPCW)",
    "ibs": "integrated Brier score",
    "r_at_1": "R@1",
    "r_at_5": "R@5",
    "r_at_10": "R@10",
    "mrr": "MRR",
    "map": "mAP by class",
}


def metric_name(metric: str) -> str:
    """How a metric is written in the field.

    Example:
        >>> metric_name("macro_f1"), metric_name("recall_at_5")
        ('macro F1', 'recall at 5')
    """
    return _METRICS.get(metric, metric.replace("_", " "))


def number(value: float) -> str:
    """Three decimals where that reads well, "undefined" for NaN.

    Example:
        >>> number(0.96249), number(-12345.6), number(0.00042), number(float("nan"))
        ('0.962', '-12,346', '0.00042', 'undefined')
    """
    if not math.isfinite(value):
        return "undefined"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < 0.0005:
        return f"{value:.2g}"
    return f"{value:.1f}" if size >= 100 else f"{value:.3f}"


def change(value: float) -> str:
    """A difference with its sign.

    Example:
        >>> change(0.2), change(-0.2)
        ('+0.200', '-0.200')
    """
    return number(value) if not value >= 0 else f"+{number(value)}"


def with_interval(value: float, low: float, high: float) -> str:
    """A score with its interval, where there is one.

    Example:
        >>> with_interval(0.9, 0.85, 0.94)
        '0.900 [0.850, 0.940]'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def kept_name(present: str) -> str:
    """The modalities of a subset, from the comma-joined names.

    Example:
        >>> kept_name("left"), kept_name("left,right")
        ('left only', 'left + right')
    """
    names = present.split(",")
    return f"{names[0]} only" if len(names) == 1 else " + ".join(names)


def score_of(line: pd.Series) -> str:
    """A line's score with its interval."""
    return with_interval(line["value"], line["low"], line["high"])


def summary(study: Study, target: str, model: str) -> list[str]:
    """What one model's numbers say about one target, a sentence each."""
    return [
        *_complete(study, target, model),
        *_costliest(study, target, model),
        *_worst_subset(study, target, model),
        *_curve(study, target, model),
        *_flip(study, target, model),
    ]


def _complete(study: Study, target: str, model: str) -> list[str]:
    lines = study.scores(target, "complete", model=model)
    if lines.empty:
        return []
    line = lines.iloc[0]
    metric = metric_name(study.main_metric(target))
    rows = "1 row" if line["rows"] == 1 else f"{line['rows']:,} rows"
    if math.isnan(line["value"]):
        why = "" if line["rows"] == 0 else "; it needs rows whose labels differ"
        return [f"Complete data: {metric} is undefined on {rows}{why}."]
    return [f"Complete data: {metric} {score_of(line)} on {rows}."]


def _costliest(study: Study, target: str, model: str) -> list[str]:
    table = study.of_target(study.importance, target)
    table = table[table["model"] == model].dropna(subset="leave_one_out")
    if len(table) < 2:
        return []
    line = table.iloc[int(table["leave_one_out"].to_numpy(float).argmax())]
    lost = float(line["leave_one_out"])
    if lost <= 0:
        return ["Losing any one modality does not lower the score."]
    return [f"Losing '{line['modality']}' costs the most ({change(-lost)})."]


def _worst_subset(study: Study, target: str, model: str) -> list[str]:
    table = study.scores(target, "subset", model=model).dropna(subset="value")
    if len(table) < 2:
        return []
    line = table.iloc[int(table["value"].to_numpy(float).argmin())]
    said = [f"Worst subset: {kept_name(line['present'])}, {score_of(line)}."]
    nothing = study.scores(target, "empty", model=model).dropna(subset="value")
    if len(nothing):
        said.append(f"With nothing present: {score_of(nothing.iloc[0])}.")
    return said


def _curve(study: Study, target: str, model: str) -> list[str]:
    area = study.area(target, model)
    if math.isnan(area):
        return []
    top = study.scores(target, "mcar", model=model)["rate"].max()
    return [
        f"Missing completely at random: {number(area)} on average over rates from 0 to {top:g} "
        "(area under the curve)."
    ]


def _flip(study: Study, target: str, model: str) -> list[str]:
    said = []
    for family, what in (("mnar", "the label"), ("value_mnar", "the lost value")):
        one = study.scores(target, family, model=model).dropna(subset="value")
        other = study.scores(target, f"{family}_flipped", model=model).dropna(subset="value")
        if one.empty or other.empty:
            continue
        difference = float(other["value"].iloc[0] - one["value"].iloc[0])
        if number(abs(difference)) == number(0.0):
            moves = "does not change"
        else:
            moves = f"{'falls' if difference < 0 else 'rises'} by {number(abs(difference))}"
        said.append(
            f"When absence follows {what} the score is {score_of(one.iloc[0])}; it {moves} when "
            "absence follows it the other way round."
        )
    return said


def comparison(study: Study, target: str) -> list[str]:
    """Which of several models is ahead, on what."""
    if len(study.models) < 2:
        return []
    complete = study.scores(target, "complete").set_index("model")["value"]
    subsets = study.scores(target, "subset").groupby("model", sort=False)["value"].min()
    area = pd.Series({m: study.area(target, m) for m in study.models}, dtype=float)
    said = []
    for what, found in (
        ("on complete data", complete),
        ("under the worst subset", subsets),
        ("over MCAR rates", area),
    ):
        found = found.dropna().sort_values(ascending=False, kind="stable")
        if len(found) > 1:
            ranked = ", ".join(f"{name} {number(value)}" for name, value in found.items())
            said.append(f"Highest first, {what}: {ranked}.")
    return said


def training(meta: Mapping[str, Any]) -> str:
    """How absence was treated in training, from ``trained_with``."""
    facts = meta.get("trained_with") or {}
    return "; ".join(f"{key}: {_plain(value)}" for key, value in facts.items()) or "not recorded"


def training_rates(meta: Mapping[str, Any]) -> list[float]:
    """The rates missing completely at random in training, as ``trained_with`` words them.

    Example:
        >>> training_rates({"trained_with": {"missing": "none", "dropout": "MCAR(rate=0.3)"}})
        [0.3]
    """
    told = [str(v) for v in (meta.get("trained_with") or {}).values()]
    found = [re.match(r"(?:MCAR|ModalityDropout)\(rate=([\d.]+)[,)]", words) for words in told]
    return [float(match[1]) for match in found if match]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)
