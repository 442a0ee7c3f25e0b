"""WorstRows: the rows that a model gets most wrong, beside what it says with less of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.robustness.result import RobustnessResult
from mmfuse.robustness.saved import SavedTables


@dataclass(frozen=True)
class WorstRows(SavedTables):
    """The rows of each target with the greatest loss on complete data.

    Args:
        rows: one line a row and target, the worst first: ``target``, ``row``, ``label`` and
            ``prediction`` in words, ``loss`` (classes and labels: 1 less the probability of the
            truth, the mean over labels; values: the error's size in deviations of these
            rows' labels; search: 1 less the reciprocal rank of the row's own item), and a
            column ``only <modality>`` for what the model says with that one alone, empty where the
            row lacks it, or where it is what is searched.
        inputs: one line for each row and modality: ``row``, ``modality``, and what to ``show``: a
            picture's ``data:`` address, or words; absent ones have no line.
        meta: ``modalities``, ``count``, in plain data.
    """

    what = "table of the worst rows"

    rows: pd.DataFrame
    inputs: pd.DataFrame
    meta: dict[str, Any]


def worst_of(result: RobustnessResult, count: int = 8) -> pd.DataFrame:
    """The rows of each target that the model gets most wrong, as ``WorstRows.rows``.

    Rows of survival targets have no loss of their own and are left out.

    Args:
        result: of the model, with complete data and, for the words of single modalities, the
            subsets of one.
        count: at most so many rows for each target.
    """
    parts = [
        _of_target(result, target, facts, count)
        for target, facts in result.meta["targets"].items()
        if facts["kind"] != "survival"
    ]
    columns = ["target", "row", "label", "prediction", "loss", *_alone(result)]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _alone(result: RobustnessResult) -> list[str]:
    return [f"only {m}" for m in result.meta["modalities"]]


def _of_target(
    result: RobustnessResult, target: str, facts: Mapping[str, Any], count: int
) -> pd.DataFrame:
    table = result.predictions
    table = table[table["target"] == target]
    whole = table[table["condition"] == "complete"].dropna(subset="label")
    loss = _loss(whole, facts).groupby(whole["row"], sort=False).mean()
    chosen = loss.sort_values(ascending=False, kind="stable").index[:count]

    def words(lines: pd.DataFrame, column: str = "prediction") -> NDArray[np.object_]:
        found = lines[lines["row"].isin(chosen)].groupby("row", sort=False, observed=True)
        told = {row: _in_words(own, column, facts) for row, own in found}
        return np.array([told.get(row, "") for row in chosen], dtype=object)

    return pd.DataFrame(
        {
            "target": target,
            "row": chosen.to_numpy(),
            "label": words(whole, "label"),
            "prediction": words(whole),
            "loss": loss.loc[chosen].to_numpy(float),
            **{name: words(table[table["condition"] == name]) for name in _alone(result)},
        }
    )


def _loss(lines: pd.DataFrame, facts: Mapping[str, Any]) -> pd.Series:
    """The loss of each line: of one class a row, of one label, or of one value."""
    if facts["kind"] == "regression":
        scale = lines.groupby("output", observed=True)["label"].transform("std").replace(0, 1)
        return (lines["prediction"] - lines["label"]).abs() / scale.fillna(1)
    if facts["kind"] == "search":
        return 1 - 1 / lines["prediction"]
    if facts["kind"] == "multilabel":
        share = _picked(lines, lines["output"].astype(str))
        return (share - lines["label"]).abs()
    names = lines["label"].astype(int).map(dict(enumerate(facts["classes"])))
    return 1 - _picked(lines, names)


def _picked(lines: pd.DataFrame, names: pd.Series) -> pd.Series:
    """Each line's probability of the class or label that it names."""
    found = pd.Series(np.nan, index=lines.index)
    for name in names.unique():
        here = names == name
        found[here] = lines.loc[here, f"p_{name}"]
    return found


def _in_words(lines: pd.DataFrame, column: str, facts: Mapping[str, Any]) -> str:
    """What a row's lines say, as a person would write it."""
    if facts["kind"] == "regression":
        return ", ".join(f"{value:.4g}" for value in lines[column])
    if facts["kind"] == "search":
        return ", ".join(f"rank {value:,.6g}" for value in lines[column])
    if facts["kind"] == "multilabel":
        return ", ".join(lines.loc[lines[column] == 1, "output"].astype(str)) or "none"
    value = lines[column].iloc[0]
    name = str(facts["classes"][int(value)])
    return name if column == "label" else f"{name} ({lines[f'p_{name}'].iloc[0]:.2f})"
