"""Plot: recall at k and mean average precision of every direction, beside chance."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

_COLOURS = ("#2b83c6", "#d97706", "#159a78", "#c95c9c", "#8d6fd1", "#7f8c2a", "#b0554a", "#444444")


def plot(table: pd.DataFrame, title: str) -> Figure:
    """A panel of recall at k where there are pairs, one of bars where there are classes.

    Args:
        table: as ``report.frame`` gives it.
        title: above the panels.
    """
    lines = table[~table["direction"].str.startswith("zero_shot/")]
    ks = sorted(int(m[1]) for c in table for m in [re.fullmatch(r"r_at_(\d+)", str(c))] if m)
    has_pairs = bool(ks) and bool(lines[f"r_at_{ks[0]}"].notna().any())
    has_classes = "map" in lines and bool(lines["map"].notna().any())
    height = 3.2 + 0.22 * max(0, len(lines) - 6)
    figure = Figure(figsize=(7 + 4 * (has_pairs and has_classes), height), layout="constrained")
    panels = figure.subplots(1, has_pairs + has_classes, squeeze=False)[0]
    colours = [_COLOURS[i % len(_COLOURS)] for i in range(len(lines))]
    if has_pairs:
        _recall(panels[0], lines, ks, colours)
    if has_classes:
        _precision(panels[-1], lines, colours)
    figure.suptitle(title, fontsize=10)
    return figure


def _recall(axes: Any, lines: pd.DataFrame, ks: list[int], colours: list[str]) -> None:
    for colour, (_, line) in zip(colours, lines.iterrows(), strict=True):
        recall = [line[f"r_at_{k}"] for k in ks]
        axes.plot(ks, recall, "o-", color=colour, markersize=3, label=_words(line["direction"]))
    chance = np.array([[line[f"chance_r_at_{k}"] for k in ks] for _, line in lines.iterrows()])
    # Directions differ in their number of items, and so a little in chance.
    low, high = np.nanmin(chance, axis=0), np.nanmax(chance, axis=0)
    axes.plot(ks, np.nanmean(chance, axis=0), "--", color="#777777", label="random order")
    axes.fill_between(ks, low, high, color="#777777", alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("k")
    axes.set_ylabel("own partner among the first k")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    # Beside the curves: on either side of the diagonal a list of six would lie on one of them.
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _precision(axes: Any, lines: pd.DataFrame, colours: list[str]) -> None:
    places = np.arange(len(lines))[::-1]
    axes.barh(places, lines["map"], color=colours, height=0.6)
    axes.plot(lines["chance_map"], places, "|", color="black", markersize=16, label="random order")
    for place, value in zip(places, lines["map"], strict=True):
        axes.text(value + 0.01, place, f"{value:.3f}", va="center", fontsize=8)
    axes.set_yticks(places, [_words(name) for name in lines["direction"]])
    axes.set_xlim(0, min(1.15, float(lines["map"].max()) * 1.25 + 0.05))
    axes.set_xlabel("mean average precision by class")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)


def _words(direction: str) -> str:
    query, _, item = direction.partition("_to_")
    return f"{query} → {item}"
