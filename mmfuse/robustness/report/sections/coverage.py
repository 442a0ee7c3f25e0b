"""The page on selective prediction: errors among the rows that the model is surest of."""

from __future__ import annotations

import plotly.graph_objects as go

from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import number

# Conditions of one model: complete data, and the rates of absence that are there.
_RATES = (0.3, 0.6, 0.9)


def section(study: Study, target: str) -> str:
    """The share of errors by the share of rows that are answered, surest rows first."""
    voices = _voices(study, target)
    if not voices:
        return ""
    figure = go.Figure()
    for i, (name, (model, condition)) in enumerate(voices.items()):
        table = study.findings[model].absence.coverage
        lines = table[(table["target"] == target) & (table["condition"] == condition)]
        figure.add_scatter(
            x=lines["coverage"],
            y=lines["value"],
            mode="lines",
            line={"color": looks.colour(i), "width": 2},
            name=plots.safe(name),
            customdata=[
                plots.safe(
                    f"{name}: {100 * r['coverage']:.0f} % answered, risk {number(r['value'])}"
                )
                for _, r in lines.iterrows()
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": "share of rows answered", "range": [0, 1.02]},
        yaxis={"title": "share of errors among them", "rangemode": "tozero"},
    )
    return blocks.section(
        "If it may abstain",
        blocks.paragraph(
            "Errors when only the surest rows are answered. A model that knows when it lacks "
            "something starts near zero; areas under these curves are AURC in the table of all "
            "numbers, E-AURC their excess over the best order of the same errors."
        ),
        blocks.plot(plots.dressed(figure, 340), f"Risk of {target} by coverage"),
    )


def _voices(study: Study, target: str) -> dict[str, tuple[str, str]]:
    """Name, model and condition: of one model several conditions, of several the complete data."""
    found: dict[str, tuple[str, str]] = {}
    for model, findings in study.findings.items():
        table = findings.absence.coverage
        known = set(table.loc[table["target"] == target, "condition"])
        if len(study.models) > 1:
            found |= {model: (model, "complete")} if "complete" in known else {}
            continue
        wanted = ["complete", *(f"mcar {rate:g}" for rate in _RATES)]
        found = {condition: (model, condition) for condition in wanted if condition in known}
    return found
