"""Pictures of a recommender's robustness: a curve over MCAR rates, and a dot for every subset."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmfuse.recommend.robustness.result import RankingRobustness
from mmfuse.robustness.report import looks
from mmfuse.robustness.report.words import kept_name

#: What a picture calls each fill.
NAMES = {"absent": "told of absence", "zero": "zeros instead", "mean": "training means instead"}

#: Dashes, as curves of stand-ins may lie on the model's.
_STYLES = {"absent": "-", "zero": "--", "mean": ":"}


def pictures(result: RankingRobustness) -> dict[str, Figure]:
    """``subsets.png``, and ``mcar.png`` where there are rates; a panel for all and cold items."""
    found = {"subsets.png": _subsets(result)}
    if (result.table["family"] == "mcar").any():
        found["mcar.png"] = _mcar(result)
    return found


def _slices(result: RankingRobustness) -> dict[str, str]:
    titles = {"all": "all items"}
    if result.has_cold:
        titles["cold"] = f"{result.meta['cold_items']:,} cold items"
    if (result.lines("cold_alone")["users"] > 0).any():
        titles["cold_alone"] = "cold items among themselves"
    return titles


def _named(metric: str) -> str:
    kind, _, k = metric.partition("_at_")
    return f"{'NDCG' if kind == 'ndcg' else kind} at {k}"


def _mcar(result: RankingRobustness) -> Figure:
    slices = _slices(result)
    figure = Figure(figsize=(1 + 4.2 * len(slices), 3.8), layout="constrained")
    panels = figure.subplots(1, len(slices), squeeze=False)[0]
    for axes, (name, title) in zip(panels, slices.items(), strict=True):
        lines = result.lines(name)
        lines = lines[lines["family"].isin(["complete", "mcar"])]
        for i, fill in enumerate(result.fills):
            one = lines[lines["fill"] == fill].sort_values("realised_rate")
            _curve(axes, one, looks.colour(i), _STYLES[fill], NAMES[fill])
        axes.set_title(title, loc="left", fontsize="medium")
        axes.set_xlabel("share of modalities that are missing")
        axes.set_ylabel(_named(result.main_metric))
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        _plain(axes)
    _legend(figure, panels[0])
    figure.supxlabel("Band: 95 % over users", fontsize="small")
    return figure


def _curve(axes: Axes, lines: pd.DataFrame, colour: str, style: str, name: str) -> None:
    rate = lines["realised_rate"]
    axes.plot(rate, lines["value"], style, marker="o", markersize=3, color=colour, label=name)
    axes.fill_between(rate, lines["low"], lines["high"], color=colour, alpha=0.15, linewidth=0)


def _subsets(result: RankingRobustness) -> Figure:
    slices = _slices(result)
    every = result.lines()
    every = every[every["family"].isin(["subset", "empty"])]
    told = every[every["fill"] == "absent"]
    told = told[(told["family"] == "empty") | told["present"].isin(looks.ranked_subsets(told))]
    names = list(told.sort_values("value", kind="stable")["condition"])
    labels = dict(zip(told["condition"], told["present"], strict=True))
    figure = Figure(
        figsize=(2.6 + 3.6 * len(slices), 1.6 + 0.42 * len(names)), layout="constrained"
    )
    panels = figure.subplots(1, len(slices), squeeze=False, sharey=True)[0]
    for axes, (name, title) in zip(panels, slices.items(), strict=True):
        lines = result.lines(name)
        lines = lines[lines["condition"].isin(names)]
        for i, fill in enumerate(result.fills):
            one = lines[lines["fill"] == fill].set_index("condition").loc[names]
            shift = looks.offsets(len(result.fills), 0.4)[i]
            axes.errorbar(
                one["value"],
                [place + shift for place in range(len(names))],
                xerr=[
                    (one["value"] - one["low"]).clip(lower=0),
                    (one["high"] - one["value"]).clip(lower=0),
                ],
                fmt="o",
                markersize=5,
                color=looks.colour(i),
                elinewidth=1.2,
                label=NAMES[fill],
            )
        axes.set_yticks(
            range(len(names)), [kept_name(labels[n]) if labels[n] else n for n in names]
        )
        axes.set_title(title, loc="left", fontsize="medium")
        axes.set_xlabel(f"{_named(result.main_metric)}, 95 % over users")
        axes.set_xlim(left=0)
        _plain(axes)
    _legend(figure, panels[0])
    return figure


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
