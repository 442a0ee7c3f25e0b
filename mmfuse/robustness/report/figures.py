"""The page's interactive figures in plotly; the page itself colours their text and grid."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.report import looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import (
    change,
    kept_name,
    metric_name,
    number,
    score_of,
    training_rates,
)
from mmfuse.survival import kaplan_meier
from mmfuse.survival.plot import group_names


def subsets(study: Study, target: str) -> go.Figure | None:
    """A line a subset, the best on top: filled dots for the modalities kept, then the score."""
    table = study.scores(target, "subset")
    if table["present"].nunique() < 2:
        return None
    names = looks.ranked_subsets(table)
    place = {name: i for i, name in enumerate(names)}
    modalities = study.modalities
    figure = go.Figure()
    for column, modality in enumerate(modalities):
        kept = [modality in name.split(",") for name in names]
        figure.add_scatter(
            x=[column] * len(names),
            y=list(place.values()),
            xaxis="x2",
            mode="markers",
            marker={
                "size": 10,
                "color": ["#7d8590" if k else "rgba(125,133,144,0.18)" for k in kept],
            },
            customdata=[plots.safe(modality) + (" kept" if k else " absent") for k in kept],
            hovertemplate="%{customdata}<extra></extra>",
        )
    shifts = looks.offsets(len(study.models))
    for i, model in enumerate(study.models):
        lines = table[(table["model"] == model) & table["present"].isin(names)]
        figure.add_scatter(
            x=lines["value"],
            y=[place[p] + shifts[i] for p in lines["present"]],
            error_x=plots.interval(lines, looks.colour(i)),
            mode="markers",
            marker={"size": 9, "color": looks.colour(i)},
            name=plots.safe(model),
            customdata=[
                plots.safe(f"{kept_name(r['present'])}: {score_of(r)}") for _, r in lines.iterrows()
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    share = min(0.45, 0.09 * len(modalities) + 0.02)
    height = len(names) * max(22, 11 * len(study.models) + 6) + plots.AXES + 90
    labels = [plots.safe(plots.short(m)) for m in modalities]
    figure.update_layout(
        xaxis={"domain": [share, 1], "title": _metric(study, target), "anchor": "y"},
        xaxis2={
            "domain": [0, share - 0.02],
            "side": "top",
            "tickvals": list(range(len(modalities))),
            "ticktext": labels,
            "tickangle": -60,
            "showgrid": False,
            "range": [-0.6, len(modalities) - 0.4],
            "fixedrange": True,
            "anchor": "y",
        },
        yaxis={"showticklabels": False, "range": [-0.7, len(names) - 0.3], "zeroline": False},
    )
    return plots.dressed(figure, height)


def mcar(study: Study, target: str) -> go.Figure | None:
    """The score over rates of missing completely at random, from the complete data on."""
    if study.scores(target, "mcar").empty:
        return None
    figure = go.Figure()
    for i, model in enumerate(study.models):
        lines = study.scores(target, "complete", "mcar", model=model).sort_values("rate")
        band = lines.dropna(subset=["low", "high"])
        figure.add_scatter(
            x=[*band["rate"], *band["rate"][::-1]],
            y=[*band["high"], *band["low"][::-1]],
            fill="toself",
            fillcolor=plots.faint(looks.colour(i)),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=lines["rate"],
            y=lines["value"],
            mode="lines+markers",
            line={"color": looks.colour(i), "width": 2},
            cliponaxis=False,
            name=plots.safe(model),
            customdata=[
                f"rate {r['rate']:g}, realised {r['realised_rate']:.2f}<br>{score_of(r)}"
                for _, r in lines.iterrows()
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
        for rate in training_rates(study.metas[model]):
            figure.add_vline(x=rate, line={"color": looks.colour(i), "width": 1, "dash": "dot"})
    figure.update_layout(
        xaxis={"title": "rate of absence", "rangemode": "tozero"},
        yaxis={"title": _metric(study, target)},
    )
    return plots.dressed(figure, 400)


def shifts(study: Study, target: str) -> go.Figure | None:
    """A bar for each condition at random and not at random; dashes show complete data."""
    table = study.shifts(target)
    if table.empty:
        return None
    names = list(dict.fromkeys(table["condition"]))
    figure = plots.bars(study, table, names)
    for i, model in enumerate(study.models):
        for value in study.scores(target, "complete", model=model)["value"].dropna():
            figure.add_vline(x=value, line={"color": looks.colour(i), "width": 1.5, "dash": "dash"})
    figure.update_layout(xaxis={"title": _metric(study, target)})
    return plots.dressed(figure, plots.height(names, len(study.models), 16))


def importance(study: Study, target: str) -> dict[str, go.Figure]:
    """A figure for each way to measure what a modality is worth."""
    table = study.of_target(study.importance, target)
    metric = metric_name(study.main_metric(target))
    titles = {
        "shapley": f"Shapley value ({metric})",
        "leave_one_out": f"{metric} lost without it",
        "alone": f"{metric} with it alone",
    }
    found = {}
    for kind, title in titles.items():
        lines = table.dropna(subset=kind).assign(condition=lambda t: t["modality"])
        if lines.empty:
            continue
        wide = 1.96 * lines["shapley_se"] if kind == "shapley" else 0.0 * lines[kind]
        lines = lines.assign(value=lines[kind], low=lines[kind] - wide, high=lines[kind] + wide)
        names = list(dict.fromkeys(lines["condition"]))
        told = (lambda r: number(r["value"])) if kind == "alone" else (lambda r: change(r["value"]))
        figure = plots.bars(study, lines, names, told)
        figure.update_layout(xaxis={"title": title})
        found[kind] = plots.dressed(figure, plots.height(names, len(study.models), 16))
    return found


def calibration(study: Study, target: str) -> dict[str, go.Figure]:
    """ECE and Brier scores under each condition; none for regression."""
    found = {}
    for metric in ("ece", "brier", "ibs"):
        table = study.scores(target, metric=metric).dropna(subset="value")
        if table.empty:
            continue
        names = looks.shown_conditions(table)
        figure = plots.dots(study, table, names)
        figure.update_layout(xaxis={"title": f"{metric_name(metric)}, lower is better"})
        height = plots.height(names, len(study.models), 10)
        found[metric] = plots.dressed(figure, height)
    return found


def survival(study: Study, target: str) -> go.Figure | None:
    """Kaplan and Meier's curve of each model's groups by predicted risk."""
    every = study.outcomes[study.outcomes["target"] == target]
    if every.empty:
        return None
    names = group_names(int(every["group"].max()) + 1)
    several = len(study.models) > 1
    figure = go.Figure()
    for i, (model, table) in enumerate(every.groupby("model", sort=False)):
        for k, lines in ((k, table[table["group"] == k]) for k in range(len(names))):
            if lines.empty:
                continue
            curve = kaplan_meier(lines["time"], lines["event"])
            last = float(lines["time"].max())
            name = f"{model}, {names[k]}" if several else names[k]
            figure.add_scatter(
                x=[0.0, *curve.times, last],
                y=[1.0, *curve.survival, *curve.at([last])],
                mode="lines",
                line={
                    "shape": "hv",
                    "color": looks.colour(i if several else k),
                    "width": 2,
                    "dash": "dash" if several and k else "solid",
                },
                name=plots.safe(f"{name} ({len(lines)} rows)"),
                hovertemplate="%{y:.3f} at %{x:.4g}<extra></extra>",
            )
    figure.update_layout(
        xaxis={"title": "time", "rangemode": "tozero"},
        yaxis={"title": "without the event", "range": [0, 1.02]},
    )
    return plots.dressed(figure, 380)


def steps(study: Study, target: str) -> go.Figure | None:
    """The score after each step of a sequential fusion, on complete data."""
    table = study.of_target(study.steps, target)
    if table.empty:
        return None
    figure = go.Figure()
    for i, model in enumerate(study.models):
        lines = table[table["model"] == model].sort_values("step")
        if lines.empty:
            continue
        figure.add_scatter(
            x=lines["step"],
            y=lines["value"],
            error_y=plots.interval(lines, looks.colour(i)),
            mode="lines+markers",
            line={"color": looks.colour(i), "width": 2},
            marker={"size": 9},
            name=plots.safe(model),
            customdata=[plots.safe(f"{step_name(r)}: {score_of(r)}") for _, r in lines.iterrows()],
            hovertemplate="%{customdata}<extra></extra>",
        )
    named = table.drop_duplicates("step").sort_values("step")
    figure.update_layout(
        xaxis={
            "tickvals": list(named["step"]),
            "ticktext": [plots.safe(plots.short(step_name(r))) for _, r in named.iterrows()],
        },
        yaxis={"title": _metric(study, target)},
    )
    return plots.dressed(figure, 380)


def baselines(study: Study, target: str) -> go.Figure | None:
    """The main metric of each baseline and of each model, by the modalities they read."""
    table = alone(study, target)
    if table.empty:
        return None
    names = list(dict.fromkeys(table["condition"]))
    voices = list(dict.fromkeys(table["model"]))
    figure = plots.dots(study, table, names, voices)
    figure.update_layout(xaxis={"title": _metric(study, target)})
    height = plots.height(names, len(voices), 14)
    return plots.dressed(figure, height)


def alone(study: Study, target: str) -> pd.DataFrame:
    """Baselines and models under the subsets that baselines read, in the main metric.

    Columns model, condition (the modalities in words), value, low, high.
    """
    found = study.of_target(study.baselines, target)
    if found.empty:
        return found.assign(condition=[])
    ours = study.scores(target, "subset").rename(columns={"present": "modalities"})
    ours = ours[ours["modalities"].isin(found["modalities"])]
    order = {m: i for i, m in enumerate(dict.fromkeys(found["modalities"]))}
    table = pd.concat([ours[list(found.columns)], found], ignore_index=True)
    table = table.sort_values("modalities", key=lambda c: c.map(order), kind="stable")
    return table.assign(condition=table["modalities"].map(kept_name)).reset_index(drop=True)


def step_name(line: pd.Series) -> str:
    """A step and the modality it read."""
    return f"{line['step']}: {line['modality'] or 'start'}"


def _metric(study: Study, target: str) -> str:
    return metric_name(study.main_metric(target))
