"""Report: directions of retrieval as a table, a file of numbers and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from mmfuse.errors import ConfigError, DataError
from mmfuse.files import replacing
from mmfuse.retrieval.directions import Direction

_ZERO_SHOT = "zero_shot/"
#: Where the curve of recall is drawn.
CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def curve_ks(ks: Sequence[int], most: int) -> tuple[int, ...]:
    """The ks asked for and those of the curve, ascending, up to the number of items.

    Raises:
        ConfigError: a k below 1.
    """
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks is {list(ks)}; expected whole numbers from 1 up.")
    return tuple(sorted({*ks, *(k for k in CURVE if k <= most)}))


def frame(directions: Sequence[Direction], zero_shot: Mapping[str, float]) -> pd.DataFrame:
    """One line a direction, and one a modality whose rows are told by class names.

    Scores are named as an ``AlignmentTask`` logs them; ``chance_<score>`` is what a random order
    would have.

    Raises:
        DataError: there is nothing to tell.
    """
    if not directions:
        raise DataError(
            "No row has two of the modalities, and no class is shared between them; there is "
            "nothing to retrieve. Give rows that pair modalities, or a target with classes."
        )
    lines = [_line(d) for d in directions]
    lines += [{"direction": f"{_ZERO_SHOT}{m}", "zero_shot": v} for m, v in zero_shot.items()]
    return pd.DataFrame(lines)


def _line(direction: Direction) -> dict[str, float | str]:
    line: dict[str, float | str] = {"direction": direction.name, **direction.named()}
    if direction.pairs is not None:
        line |= {"queries": direction.pairs.queries, "items": direction.pairs.items}
        chance = direction.pairs.chance
        line |= {f"chance_r_at_{k}": v for k, v in chance.items() if k is not None}
        line |= {"chance_mrr": chance[None], "chance_median_rank": (direction.pairs.items + 1) / 2}
    if direction.labels is not None:
        line["chance_map"] = direction.labels.chance[None]
    return line


def show(table: pd.DataFrame, ks: Sequence[int]) -> None:
    """Prints the lines as a person reads them, and below them what a random order would have."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = {
        "direction": "direction",
        "queries": "queries",
        **{f"r_at_{k}": f"R@{k}" for k in ks},
        "median_rank": "median",
        "mrr": "MRR",
        "map": "mAP",
    }
    lines = table[~table["direction"].str.startswith(_ZERO_SHOT)]
    there = [c for c in columns if c in lines and lines[c].notna().any()]
    for name in there:
        side: Literal["left", "right"] = "left" if name == "direction" else "right"
        shown.add_column(columns[name], justify=side, no_wrap=True)
    for _, line in lines.iterrows():
        shown.add_row(*(_cell(line.to_dict(), name) for name in there))
    chance = {c: lines[f"chance_{c}"].mean() for c in there if f"chance_{c}" in lines}
    shown.add_section()
    shown.add_row(*(_cell({"direction": "random order", **chance}, n) for n in there), style="dim")
    console = Console()
    console.print(shown)
    named = table[table["direction"].str.startswith(_ZERO_SHOT)]
    for modality, value in zip(named["direction"], named.get("zero_shot", []), strict=True):
        told = modality.removeprefix(_ZERO_SHOT)
        console.print(f"Rows of {told!r} whose class's name is nearest: {value:.3f}", markup=False)


def _cell(line: Mapping[Any, Any], name: str) -> str:
    value = line.get(name)
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    if name in ("queries", "median_rank"):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return f"{value:.3f}"


def write(table: pd.DataFrame, folder: str | Path, title: str) -> Path:
    """Writes ``retrieval.csv`` and ``retrieval.png``.

    Raises:
        OutputError: the folder cannot be written.
    """
    from mmfuse.retrieval.plot import plot  # matplotlib takes its time

    folder = Path(folder)
    with replacing(folder / "retrieval.csv") as part:
        table.to_csv(part, index=False)
    figure = plot(table, title)
    with replacing(folder / "retrieval.png") as part:
        figure.savefig(part, format="png", dpi=150, bbox_inches="tight")
    return folder / "retrieval.png"
