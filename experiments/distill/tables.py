"""Which weight the validation rows choose, and what each way's students score on test rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from stages import ALONE, CONTROL, LONGER

from mmfuse.compare.table import interval

#: Differences in accuracy that are told below the table: the first less the second.
PAIRS = (
    ("MST-Distill, hard router", CONTROL),
    ("MST-Distill, weighted router", CONTROL),
    (CONTROL, LONGER),
)


def chosen(trials: pd.DataFrame) -> Mapping[tuple[str, str, Any], float]:
    """For each student, way and test part the weight of the best mean validation accuracy.

    Of two that are level the smaller.
    """
    means = trials.groupby(["student", "way", "test", "weight"])["accuracy"].mean()
    best = means.groupby(["student", "way", "test"]).idxmax()
    return {at[:3]: float(at[3]) for at in best}


def table(scores: pd.DataFrame, unit: str) -> str:
    """What each way's students score, and what they score above the one trained alone.

    Args:
        scores: a line for each student, way, test part and seed.
        unit: the column that intervals are over; lines that share it are averaged.
    """
    parts = []
    for student, own in scores.groupby("student", sort=False):
        parts.append(f"## {student}\n")
        head = ["way", "weight", "accuracy", "less alone", "log loss", "less alone"]
        parts += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        means = own.groupby(["way", unit], sort=False)[["accuracy", "log_loss"]].mean()
        for way, lines in own.groupby("way", sort=False):
            cells = [str(way), _weights(lines["weight"])]
            for metric in ("accuracy", "log_loss"):
                found = means.loc[way, metric]
                less = found - means.loc[ALONE, metric]
                cells.append("{:.3f} ± {:.3f}".format(*interval(found.to_numpy())))
                cells.append("" if way == ALONE else _difference(less))
            parts.append(f"| {' | '.join(cells)} |")
        parts += [
            f"\n{one} less {other}: accuracy "
            f"{_difference(means.loc[one, 'accuracy'] - means.loc[other, 'accuracy'])}."
            for one, other in PAIRS
        ]
        parts.append("")
    over = f"{scores[unit].nunique()} seeds"
    if unit == "test":
        over = f"{scores[unit].nunique()} folds, each the mean of {scores['seed'].nunique()} seeds"
    parts.append(f"Mean ± half-width of the 95 % Student interval over {over}; test rows.\n")
    return "\n".join(parts)


def _difference(found: pd.Series) -> str:
    return "{:+.3f} ± {:.3f}".format(*interval(found.to_numpy()))


def _weights(found: pd.Series) -> str:
    """The weight; where parts chose differently, the share of each."""
    counts = found.dropna().value_counts(normalize=True).sort_index()
    if len(counts) < 2:
        return "".join(f"{w:g}" for w in counts.index)
    return ", ".join(f"{w:g} ({share:.0%})" for w, share in counts.items())
