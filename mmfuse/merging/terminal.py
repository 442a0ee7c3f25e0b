"""The table of a choice on the terminal."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

_MARKS = {"is_chosen": "chosen", "is_kept": "stays in"}


def print_choice(table: pd.DataFrame, metric: str, higher_is_better: bool) -> None:
    """Prints what was tried: scores on validation rows, and what they chose.

    Args:
        table: of a ``Choice``.
        metric: what the scores are.
        higher_is_better: of scores.
    """
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = {"score": metric, "share": "lambda", **_MARKS}
    for name in table:
        is_text = name in ("model", *_MARKS)
        shown.add_column(
            names.get(str(name), str(name)),
            justify="left" if is_text else "right",
            overflow="fold",
        )
    for _, row in table.iterrows():
        style = "bold" if row.get("is_chosen", False) or row.get("model") == "merged" else None
        shown.add_row(*(_cell(str(name), value) for name, value in row.items()), style=style)
    console = Console()
    console.print(f"{metric} on the validation rows", highlight=False)
    console.print(shown)
    if told := _verdict(table, higher_is_better):
        print(told)


def _verdict(table: pd.DataFrame, higher_is_better: bool) -> str:
    """What a person must know when the merge did not help; empty when it may have."""
    sign = 1 if higher_is_better else -1
    if "share" in table:
        return (
            "No mixture scores better than the better of the two models."
            if table.loc[table["is_chosen"], "share"].isin([0, 1]).all()
            else ""
        )
    if "size" in table:
        return "" if table["is_kept"].sum() > 1 else "No average scores as well as the best model."
    own = sign * table["score"]
    return (
        "The average scores below every one of its models: do they come from one start?"
        if own.iloc[-1] < own.iloc[:-1].min()
        else ""
    )


def _cell(name: str, value: object) -> str:
    if name in _MARKS:
        return "yes" if value else ""
    if name in ("score", "alone"):
        return f"{value:.4f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
