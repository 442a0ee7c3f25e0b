"""The page on corruptions: scores by severity, of each modality and of all at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.corruptions.result import EVERY, CorruptionResult
from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import metric_name, number, score_of

_AT_ONCE = "all at once"
_MEASURES = {
    "mean": "mean over severities",
    "relative_area": "area / clean",
    "retained": "left at severity 5",
}


def section(study: Study, target: str) -> str:
    """Curves of each modality's mean, a heat map of every corruption, and the measures."""
    results = of_target(study, target)
    if not results:
        return ""
    metric = metric_name(study.main_metric(target))
    curves = [
        f"<div><h4>{blocks.text(name)}</h4>"
        f"{blocks.plot(figure, f'{metric} of {target} by severity, {name}')}</div>"
        for name, figure in _curves(results, target, metric).items()
    ]
    maps = []
    for model, result in results.items():
        title = f"<h4>{blocks.text(model)}</h4>" if len(results) > 1 else ""
        figure = _map(_main(result, target))
        maps.append(title + blocks.plot(figure, f"{metric} of {target} under every corruption"))
    return blocks.section(
        "Corrupted inputs",
        blocks.paragraph(
            "Five severities after ImageNet-C, one corruption at a time; 0 is clean. A modality's "
            "curve is the mean over its corruptions; all at once corrupts every modality of a row, "
            "each by one of its own."
        ),
        blocks.side_by_side(*curves),
        *maps,
        blocks.folded("Areas and what is left", _measures(results, target)),
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of one model: the worst corruption, and all modalities at once."""
    result = of_target(study, target).get(model)
    if result is None:
        return []
    table = _main(result, target)
    clean = table.loc[table["severity"] == 0, "value"].iloc[0]
    last = table[table["severity"] == table["severity"].max()].dropna(subset="value")
    said = []
    single, both = last[last["modality"] != EVERY], last[last["modality"] == EVERY]
    if len(single):
        line = single.iloc[int(single["value"].to_numpy(float).argmin())]
        said.append(
            f"Worst corruption: {line['corruption']} of {line['modality']} at severity "
            f"{line['severity']} takes {number(clean)} to {score_of(line)}."
        )
    if len(both):
        said.append(f"Every modality corrupted at once: {score_of(both.iloc[0])}.")
    return said


def of_target(study: Study, target: str) -> dict[str, CorruptionResult]:
    """The result of each model that has one for this target."""
    found = {model: f.corruptions for model, f in study.findings.items()}
    return {m: r for m, r in found.items() if r is not None and target in r.meta["main_metrics"]}


def _main(result: CorruptionResult, target: str) -> pd.DataFrame:
    """The lines of ``scores`` for the target's main metric."""
    table = result.scores
    metric = result.meta["main_metrics"][target]
    return table[(table["target"] == target) & (table["metric"] == metric)]


def _means(result: CorruptionResult, target: str) -> dict[str, pd.Series]:
    """Each modality's mean over its corruptions, and all at once, by severity."""
    grouped = _main(result, target).groupby(["modality", "severity"], sort=False)["value"].mean()
    names = list(dict.fromkeys(grouped.index.get_level_values(0)))
    return {_AT_ONCE if m == EVERY else m: grouped.loc[m] for m in names}


def _curves(
    results: Mapping[str, CorruptionResult], target: str, metric: str
) -> dict[str, go.Figure]:
    """One figure of a model with all modalities, or of all models for each modality."""
    found = {model: _means(result, target) for model, result in results.items()}
    if len(found) == 1:
        (means,) = found.values()
        if len(means) <= len(looks.COLOURS):
            return {"each modality and all": _curve(means, metric)}
        # More voices than colours: those that suffer most, and all at once.
        last = sorted(means, key=lambda name: float(means[name].iloc[-1]))
        kept = [n for n in last if n != _AT_ONCE][: len(looks.COLOURS) - 1]
        shown = {n: c for n, c in means.items() if n in kept or n == _AT_ONCE}
        return {f"the {len(kept)} modalities that suffer most, and all": _curve(shown, metric)}
    names = list(dict.fromkeys(name for means in found.values() for name in means))
    return {
        name: _curve({m: means[name] for m, means in found.items() if name in means}, metric)
        for name in names
    }


def _curve(voices: Mapping[str, pd.Series], metric: str) -> go.Figure:
    figure = go.Figure()
    for i, (name, curve) in enumerate(voices.items()):
        figure.add_scatter(
            x=curve.index,
            y=curve,
            mode="lines+markers",
            line={"color": looks.colour(i), "width": 2},
            name=plots.safe(name),
            customdata=[plots.safe(f"{name}, severity {s}: {number(v)}") for s, v in curve.items()],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_layout(xaxis={"title": "severity"}, yaxis={"title": metric})
    return plots.dressed(figure, 320)


def _map(table: pd.DataFrame) -> go.Figure:
    """A line a corruption, a column a severity."""
    wide = table.pivot(index=["modality", "corruption"], columns="severity", values="value")
    order = table[["modality", "corruption"]].drop_duplicates().itertuples(index=False, name=None)
    wide = wide.loc[list(order)]
    names = [_AT_ONCE if m == EVERY else f"{m}: {c}" for m, c in wide.index]
    value = wide.to_numpy(float)
    figure = go.Figure(
        go.Heatmap(
            z=value,
            x=[str(s) for s in wide.columns],
            y=[plots.safe(n) for n in names],
            colorscale=[[0, looks.COLOURS[1]], [0.5, "#f6f8fa"], [1, looks.COLOURS[0]]],
            text=[[number(v) if np.isfinite(v) else "" for v in row] for row in value],
            texttemplate="%{text}",
            textfont={"color": "#1d2329", "size": 11},
            hoverinfo="skip",
            hoverongaps=False,
            showscale=False,
        )
    )
    figure.update_layout(
        xaxis={"title": "severity", "side": "top", "type": "category"},
        yaxis={"autorange": "reversed"},
    )
    return plots.dressed(figure, 22 * len(names) + 90)


def _measures(results: Mapping[str, CorruptionResult], target: str) -> str:
    several = len(results) > 1
    lines = []
    for model, result in results.items():
        table = result.main(target)
        for (modality, corruption), group in table.groupby(["modality", "corruption"], sort=False):
            told = {r["measure"]: score_of(r) for _, r in group.iterrows()}
            lines.append(
                [
                    _AT_ONCE if modality == EVERY else modality,
                    corruption,
                    *([model] if several else []),
                    *(told.get(measure, "") for measure in _MEASURES),
                ]
            )
    header = ["modality", "corruption", *(["model"] if several else []), *_MEASURES.values()]
    return blocks.table(header, lines)
