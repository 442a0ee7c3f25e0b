"""A recommender's robustness on a terminal: a table that fits 80 columns."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmfuse.recommend.robustness.result import RankingRobustness
from mmfuse.robustness.report.looks import ranked_subsets

#: What a column is called that shows a fill or a slice.
_HEADS = {"zero": "zeros", "mean": "means"}


def print_robustness(result: RankingRobustness, console: Console | None = None) -> None:
    """Prints the main metric under each condition, what is lost, and the baselines beside it."""
    console = console or Console()
    lines, cold = _by_condition(result, "all"), _by_condition(result, "cold")
    others = [f for f in result.fills if f != "absent"]
    has_cold = result.has_cold
    title = f"{result.meta['split']}/{result.main_metric}"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("items have", overflow="fold")
    names = ["missing", "model", "lost [95 %]", *(_HEADS[f] for f in others)]
    for name in [*names, *(["cold"] if has_cold else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for condition in _shown(result):
        told = lines[condition, "absent"]
        cells = [
            condition,
            f"{told['realised_rate']:.0%}",
            f"{told['value']:.3f}",
            _lost(told),
            *(f"{lines[condition, f]['value']:.3f}" for f in others),
        ]
        cells += [f"{cold[condition, 'absent']['value']:.3f}"] if has_cold else []
        table.add_row(*map(Text, cells))
    console.print(table)
    for note in result.meta["notes"]:
        console.print(note, markup=False, highlight=False)


def _by_condition(result: RankingRobustness, slice: str) -> dict[tuple[str, str], dict[str, Any]]:
    lines: list[dict[str, Any]] = result.lines(slice).to_dict("records")  # type: ignore[assignment]
    return {(line["condition"], line["fill"]): line for line in lines}


def _shown(result: RankingRobustness) -> list[str]:
    """Every condition but the subsets that are too many."""
    lines = result.lines()
    told = lines[lines["fill"] == "absent"]
    subsets = told[told["family"] == "subset"]
    kept = (told["family"] != "subset") | told["present"].isin(ranked_subsets(subsets))
    return list(told.loc[kept, "condition"])


def _lost(line: dict[str, Any]) -> str:
    if line["drop"] == 0 == line["realised_rate"]:
        return ""
    if pd.isna(line["drop_low"]):
        return f"{line['drop']:.3f}"
    return f"{line['drop']:.3f} [{line['drop_low']:.3f}, {line['drop_high']:.3f}]"
