"""The page on why modalities matter: pairs of them, information in bits, and types of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.interactions.result import InteractionResult
from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.sections import information
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import change, with_interval

_READINGS = {
    "shapley": "Shapley",
    "mis": "MIS",
    "banzhaf": "Banzhaf",
    "leave_one_out": "lost without it",
    "permuted": "lost with another row's",
    "alone": "alone",
}


def section(study: Study, target: str) -> str:
    """Heat maps of interactions, the decomposition of pairs, and what rows need."""
    found = of_target(study, target)
    if not found:
        return ""
    several = len(found) > 1
    parts = []
    for model, result in found.items():
        if several:
            parts.append(f"<h4>{blocks.text(model)}</h4>")
        pairs = _of(result.pairs, target)
        if len(pairs):
            parts.append(
                blocks.side_by_side(
                    blocks.plot(_pairs(result, pairs), f"Shapley interactions for {target}"),
                    *information.figures(result, target),
                )
            )
        parts.append(information.bounds(result, target))
        parts.append(
            blocks.folded("What each modality is worth, read in six ways", _worth(result, target))
        )
        parts.append(blocks.folded("Every pair", information.every_pair(result, target)))
        parts.append(_types(result, target))
    told = (
        "First the Shapley interaction of two modalities in the model, in units of the score; "
        "above zero they are worth more together than apart, below zero they repeat each other. "
        "Then what the encodings of two modalities tell of the label, in bits, whatever the "
        "fusion makes of it."
    )
    return blocks.section(
        "Why: modalities together",
        blocks.paragraph(told),
        blocks.bullets(information.words(found.values())),
        *parts,
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of one model."""
    result = of_target(study, target).get(model)
    if result is None:
        return []
    pairs = _of(result.pairs, target).dropna(subset="value")
    sure = pairs[(pairs["low"] > 0) | (pairs["high"] < 0)]
    if sure.empty:
        return []
    line = sure.iloc[int(sure["value"].abs().to_numpy().argmax())]
    how = "are worth more together than apart" if line["value"] > 0 else "repeat each other most"
    score = with_interval(line["value"], line["low"], line["high"])
    return [f"'{line['first']}' and '{line['second']}' {how} (Shapley interaction {score})."]


def of_target(study: Study, target: str) -> dict[str, InteractionResult]:
    """The result of each model that has one for this target."""
    found = {model: f.interactions for model, f in study.findings.items()}
    return {m: r for m, r in found.items() if r is not None and len(_of(r.importance, target))}


def _of(table: pd.DataFrame, target: str) -> pd.DataFrame:
    return table[table["target"] == target].reset_index(drop=True)


def _pairs(result: InteractionResult, pairs: pd.DataFrame) -> go.Figure:
    """A square of colours, blue for synergy and orange for redundancy."""
    names = list(result.meta["modalities"])
    size = len(names)
    value, told = np.full((size, size), np.nan), np.full((size, size), "", dtype=object)
    for _, line in pairs.iterrows():
        a, b = names.index(line["first"]), names.index(line["second"])
        score = with_interval(line["value"], line["low"], line["high"])
        for i, j in ((a, b), (b, a)):
            value[i, j] = line["value"]
            told[i, j] = plots.safe(f"{names[i]} and {names[j]}: {score}")
    most = float(np.nanmax(np.abs(value))) or 1.0
    labels = [plots.safe(plots.short(n)) for n in names]
    figure = go.Figure(
        go.Heatmap(
            z=value,
            x=labels,
            y=labels,
            zmin=-most,
            zmax=most,
            colorscale=[[0, looks.COLOURS[1]], [0.5, "#f6f8fa"], [1, looks.COLOURS[0]]],
            customdata=told,
            hovertemplate="%{customdata}<extra></extra>",
            text=[[change(v) if np.isfinite(v) else "" for v in row] for row in value],
            texttemplate="%{text}" if size <= 8 else None,
            textfont={"color": "#1d2329"},
            hoverongaps=False,
            colorbar={"thickness": 10, "tickfont": {"size": 10}},
        )
    )
    figure.update_layout(yaxis={"autorange": "reversed"})
    return plots.dressed(figure, max(220, 44 * size + plots.AXES))


def _worth(result: InteractionResult, target: str) -> str:
    table = _of(result.importance, target)
    told = {
        (r["modality"], r["reading"]): with_interval(r["value"], r["low"], r["high"])
        for _, r in table.iterrows()
    }
    lines = [
        [m, *(told.get((m, reading), "") for reading in _READINGS)]
        for m in result.meta["modalities"]
    ]
    unit = {
        "probability": "the probability of the true class",
        "squared_error": "the negative squared error",
    }[table["score"].iloc[0]]
    return blocks.paragraph(f"In units of {unit}, averaged over rows.") + blocks.table(
        ["modality", *_READINGS.values()], lines
    )


def _types(result: InteractionResult, target: str) -> str:
    types = _of(result.types, target)
    if types.empty:
        return ""
    meaning = {
        "agnostic": "every subset is right",
        "complementary": "the full set alone is right",
        "conflicting": "the full set is wrong, a part of it right",
        "unsolved": "no subset is right",
        "mixed": "right with the full set and some parts",
    }
    lines = [
        [
            r["type"],
            f"{100 * r['share']:.1f} %",
            meaning.get(r["type"], "right wherever it is and nowhere else"),
        ]
        for _, r in types.iterrows()
    ]
    return blocks.folded("What rows need", blocks.table(["type", "rows", "meaning"], lines))
