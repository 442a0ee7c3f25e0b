"""The page on rows out of distribution: how well each score finds them."""

from __future__ import annotations

import plotly.graph_objects as go

from mmfuse.robustness.ood import OODResult
from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import number, with_interval

_METRICS = {
    "auroc": "AUROC",
    "aupr_out": "AUPR, unknown positive",
    "fpr95_out": "FPR95, unknown positive",
    "fpr95_in": "FPR95, known positive",
}


def section(study: Study, target: str) -> str:
    """A figure of AUROC by score and set, and a table of every metric."""
    results = of_target(study, target)
    if not results:
        return ""
    sets = list(dict.fromkeys(s for r in results.values() for s in r.table["set"]))
    figures = [
        f"<div><h4>{blocks.text(name)}</h4>"
        f"{blocks.plot(_figure(results, name), f'AUROC of each score on {name}')}</div>"
        for name in sets
    ]
    return blocks.section(
        "Rows out of distribution",
        blocks.paragraph(
            "AUROC: how likely an unknown row has the higher score; dashes show chance. FPR95 with "
            "unknown rows positive is the share of known rows flagged where 95 % of the unknown "
            "are caught; with known rows positive, the share of unknown rows that pass where 95 % "
            "of the known do."
        ),
        blocks.paragraph(_lacking(results)),
        blocks.side_by_side(*figures),
        blocks.folded("Every score and metric", _table(results)),
    )


def _lacking(results: dict[str, OODResult]) -> str:
    """Which scores a model does not have, and why."""
    why = {
        "energy": "its fusion mixes probabilities, and energy is defined on scores before they "
        "are made to add up to one",
        "react": "ReAct, ASH and ViM read the fused vector through a head, and its heads read "
        "each modality's vote",
    }
    named = {"energy": "energy", "react": "score of the fused vector through a head"}
    return " ".join(
        f"{model} has no {named[score]}: {reason}."
        for model, result in results.items()
        for score, reason in why.items()
        if "msp" in set(result.table["score"]) and score not in set(result.table["score"])
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of one model."""
    result = of_target(study, target).get(model)
    if result is None:
        return []
    said = []
    for name, lines in result.table[result.table["metric"] == "auroc"].groupby("set", sort=False):
        best = lines.dropna(subset="value").sort_values("value").tail(1)
        for _, line in best.iterrows():
            score = with_interval(line["value"], line["low"], line["high"])
            said.append(
                f"Out of distribution, {name}: of {lines['score'].nunique()} scores "
                f"{line['score']} tells it best from known rows, AUROC {score}. A score chosen "
                "on these rows looks better than it is."
            )
    return said


def of_target(study: Study, target: str) -> dict[str, OODResult]:
    """The result of each model that has one for this target."""
    found = {model: f.ood for model, f in study.findings.items()}
    return {m: r for m, r in found.items() if r is not None and r.target == target}


def _figure(results: dict[str, OODResult], name: str) -> go.Figure:
    tables = {
        m: r.table[(r.table["set"] == name) & (r.table["metric"] == "auroc")]
        for m, r in results.items()
    }
    scores = list(dict.fromkeys(s for t in tables.values() for s in t["score"]))
    figure = go.Figure()
    shifts = looks.offsets(len(tables))
    for i, (model, lines) in enumerate(tables.items()):
        figure.add_scatter(
            x=lines["value"],
            y=[scores.index(s) - shifts[i] for s in lines["score"]],
            error_x=plots.interval(lines, looks.colour(i)),
            mode="markers",
            marker={"size": 8, "color": looks.colour(i)},
            name=plots.safe(model),
            customdata=[
                plots.safe(f"{r['score']}: {with_interval(r['value'], r['low'], r['high'])}")
                for _, r in lines.iterrows()
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": "#7d8590", "width": 1, "dash": "dash"})
    figure.update_layout(
        xaxis={"title": "AUROC"},
        yaxis=plots.named_axis(scores),
    )
    return plots.dressed(figure, plots.height(scores, len(tables), 10))


def _table(results: dict[str, OODResult]) -> str:
    several = len(results) > 1
    lines = []
    for model, result in results.items():
        for (name, score), group in result.table.groupby(["set", "score"], sort=False):
            told = {
                r["metric"]: with_interval(r["value"], r["low"], r["high"])
                for _, r in group.iterrows()
            }
            first = group.iloc[0]
            lines.append(
                [
                    name,
                    *([model] if several else []),
                    first["shift"],
                    score,
                    *(told.get(metric, "") for metric in _METRICS),
                    f"{first['out_rows']:,} of {first['in_rows'] + first['out_rows']:,}",
                ]
            )
    header = ["set", *(["model"] if several else []), "shift", "score", *_METRICS.values()]
    known = ", ".join(
        f"{m + ' ' if several else ''}{number(r.accuracy)}" for m, r in results.items()
    )
    return blocks.paragraph(f"Accuracy on known rows: {known}.") + blocks.table(
        [*header, "unknown rows"], lines
    )
