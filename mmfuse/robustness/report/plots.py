"""Parts of the page's figures: bars, dots, intervals and names, in plotly."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.report import looks
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import score_of

AXES = 70  #: pixels of axis and title


def bars(
    study: Study,
    table: pd.DataFrame,
    names: Sequence[str],
    told: Callable[[pd.Series], str] = score_of,
) -> go.Figure:
    """A horizontal bar for each condition and model, the first condition on top."""
    figure = go.Figure()
    for i, model in enumerate(study.models):
        lines = table[table["model"] == model]
        figure.add_bar(
            x=lines["value"],
            y=[names.index(c) for c in lines["condition"]],
            orientation="h",
            error_x=interval(lines, "#7d8590"),
            marker={"color": looks.colour(i)},
            name=safe(model),
            customdata=[safe(f"{r['condition']}: {told(r)}") for _, r in lines.iterrows()],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_layout(yaxis=named_axis(names), barmode="group", bargap=0.3)
    return figure


def dots(
    study: Study, table: pd.DataFrame, names: Sequence[str], voices: Sequence[str] | None = None
) -> go.Figure:
    """A dot with its interval for each condition and model, the first condition on top."""
    figure = go.Figure()
    voices = voices or study.models
    shifts = looks.offsets(len(voices))
    for i, model in enumerate(voices):
        lines = table[(table["model"] == model) & table["condition"].isin(names)]
        figure.add_scatter(
            x=lines["value"],
            y=[names.index(c) - shifts[i] for c in lines["condition"]],
            error_x=interval(lines, looks.colour(i)),
            mode="markers",
            marker={"size": 8, "color": looks.colour(i)},
            name=safe(model),
            customdata=[safe(f"{r['condition']}: {score_of(r)}") for _, r in lines.iterrows()],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_layout(yaxis=named_axis(names))
    return figure


def named_axis(names: Sequence[str]) -> dict[str, Any]:
    """A vertical axis of names, the first on top."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": ["<br>".join(map(safe, looks.wrapped(n))) for n in names],
        "range": [len(names) - 0.4, -0.6],
        "zeroline": False,
        "showgrid": False,
    }


def interval(lines: pd.DataFrame, colour: str) -> dict[str, Any]:
    """Error bars from ``low`` to ``high``."""
    return {
        "type": "data",
        "visible": bool((lines["high"] > lines["low"]).any()),
        "symmetric": False,
        "array": (lines["high"] - lines["value"]).fillna(0).tolist(),
        "arrayminus": (lines["value"] - lines["low"]).fillna(0).tolist(),
        "color": colour,
        "thickness": 1.5,
        "width": 3,
    }


def budget_curve(
    figure: go.Figure,
    lines: pd.DataFrame,
    noise: pd.DataFrame,
    score: str,
    name: str,
    colour: str,
    tell: Callable[[pd.Series], str],
) -> None:
    """Draws a score by an attack's budget with its band, and noise of the same size as dots.

    Args:
        figure: what is drawn on.
        lines: one a ``budget``, with the score, ``low`` and ``high``.
        noise: the same of noise.
        score: the column of the score.
        name: of the line.
        colour: of all three.
        tell: what is said of a point, safe to show.
    """
    band = lines.dropna(subset=["low", "high"])
    figure.add_scatter(
        x=[*band["budget"], *band["budget"][::-1]],
        y=[*band["high"], *band["low"][::-1]],
        fill="toself",
        fillcolor=faint(colour),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=lines["budget"],
        y=lines[score],
        mode="lines+markers",
        line={"color": colour, "width": 2},
        name=safe(name),
        customdata=[tell(r) for _, r in lines.iterrows()],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.add_scatter(
        x=noise["budget"],
        y=noise[score],
        mode="lines",
        line={"color": colour, "width": 1.5, "dash": "dot"},
        customdata=[f"noise, {tell(r)}" for _, r in noise.iterrows()],
        hovertemplate="%{customdata}<extra></extra>",
    )


def dressed(figure: go.Figure, pixels: int) -> go.Figure:
    """The figure in the page's looks: bare, transparent, its legend left to the page."""
    figure.update_layout(
        template="none",
        height=pixels,
        margin={"l": 8, "r": 12, "t": 8, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def height(names: Sequence[str], voices: int, each: int) -> int:
    """Pixels that lines need, so that neither their labels nor their voices collide."""
    labels = max((len(looks.wrapped(name)) for name in names), default=1)
    return len(names) * max(8 + 15 * labels, each * voices + 8) + AXES


def short(name: str, most: int = 14) -> str:
    """The name, cut where it is long."""
    return name if len(name) <= most else name[: most - 1] + "…"


def safe(text: str) -> str:
    """Plotly reads a few tags in labels; a name is no tag."""
    return html.escape(text, quote=False)


def faint(colour: str) -> str:
    """The colour of a band."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
