"""The page's train-by-test matrix: models by how they were trained, conditions by family."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import metric_name, number, score_of, training

# Of more conditions than this, subsets are left to their own figure.
_MOST = 30


def section(study: Study, target: str) -> str:
    """A heat map for several models; nothing for one."""
    if len(study.models) < 2:
        return ""
    table = study.scores(target).dropna(subset="value")
    if table["condition"].nunique() > _MOST:
        table = table[table["family"] != "subset"]
    conditions = list(dict.fromkeys(table["condition"]))
    scores = {(r["model"], r["condition"]): r for _, r in table.iterrows()}
    value = np.full((len(conditions), len(study.models)), np.nan)
    told = np.full(value.shape, "", dtype=object)
    for j, model in enumerate(study.models):
        for i, condition in enumerate(conditions):
            if (line := scores.get((model, condition))) is not None:
                value[i, j] = line["value"]
                told[i, j] = plots.safe(f"{model}, {condition}: {score_of(line)}")
    figure = go.Figure(
        go.Heatmap(
            z=value,
            y=["<br>".join(map(plots.safe, looks.wrapped(c, 30))) for c in conditions],
            x=["<br>".join(map(plots.safe, looks.wrapped(m, 18))) for m in study.models],
            colorscale=[[0, "#f6f8fa"], [1, looks.COLOURS[0]]],
            customdata=told,
            hovertemplate="%{customdata}<extra></extra>",
            text=[[number(v) if np.isfinite(v) else "" for v in row] for row in value],
            texttemplate="%{text}" if len(study.models) <= 8 else None,
            textfont={"color": "#1d2329", "size": 11},
            hoverongaps=False,
            showscale=False,
        )
    )
    figure.update_layout(yaxis={"autorange": "reversed"}, xaxis={"side": "top"})
    metric = metric_name(study.main_metric(target))
    return blocks.section(
        "Trained with, tested under",
        blocks.paragraph(
            f"Columns are models, lines the absence in the test; {metric}, darker is higher."
        ),
        blocks.table(
            ["model", "absence in training"],
            [[model, training(meta)] for model, meta in study.metas.items()],
        ),
        blocks.plot(
            plots.dressed(figure, 22 * len(conditions) + 90),
            f"{metric} of {target}: how models were trained and what they are tested under",
        ),
    )
