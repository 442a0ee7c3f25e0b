"""The picture of a choice: scores along a path, over a soup's sizes, or of each model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmfuse.files import replacing

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#7f7f7f"


def draw(table: pd.DataFrame, metric: str, path: str | Path) -> Path:
    """Writes the picture of a table that ``Choice`` or the uniform merge gives, as PNG.

    Args:
        table: what was tried.
        metric: what the scores are.
        path: of the picture.

    Raises:
        OutputError: the folder cannot be written.
    """
    figure = Figure(figsize=(6.4, 3.8))
    axes = figure.subplots()
    if "share" in table:
        _path(axes, table, metric)
    elif "size" in table:
        _soup(axes, table, metric)
    else:
        _each(axes, table, metric)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)
    return Path(path)


def _path(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    axes.plot(table["share"], table["score"], marker="o", color=_BLUE)
    chosen = table[table["is_chosen"]]
    axes.plot(
        chosen["share"], chosen["score"], "o", ms=11, mfc="none", color=_ORANGE, label="chosen"
    )
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("share of the second model")
    axes.set_ylabel(f"{metric} on the validation rows")


def _soup(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    tried = range(1, len(table) + 1)
    kept = table["is_kept"].to_numpy(dtype=bool)
    axes.plot(tried, table["alone"], "s", ms=5, color=_GREY, label="the model alone")
    best = table["score"].where(table["is_kept"]).ffill()
    axes.step(tried, best, where="post", color=_BLUE, label="the soup so far")
    axes.plot(table.index[kept] + 1, table["score"][kept], "o", color=_BLUE, label="stays in")
    if not kept.all():
        out = table.index[~kept] + 1
        axes.plot(
            out, table["score"][~kept], "o", mfc="none", color=_ORANGE, label="would hurt: left out"
        )
    axes.set_xticks(list(tried))
    axes.set_xlabel("models tried, the best first")
    axes.set_ylabel(f"{metric} on the validation rows")
    axes.legend(frameon=False, fontsize=8)


def _each(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    places = list(range(len(table)))[::-1]
    colours = [_ORANGE if name == "merged" else _BLUE for name in table["model"]]
    axes.scatter(table["score"], places, color=colours)
    axes.set_yticks(places, [_tail(name) for name in table["model"]])
    axes.set_xlabel(f"{metric} on the validation rows")


def _tail(name: str, most: int = 36) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]
