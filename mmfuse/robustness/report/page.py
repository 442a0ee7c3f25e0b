"""The page: report.html, complete in one file."""

from __future__ import annotations

import gzip
import math
from base64 import b64encode
from collections.abc import Callable
from importlib.resources import files
from itertools import chain
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from mmfuse.robustness.report import blocks, figures
from mmfuse.robustness.report.looks import MOST, MOST_CONDITIONS
from mmfuse.robustness.report.sections import (
    attacks,
    baselines,
    corruptions,
    coverage,
    interactions,
    leak,
    matrix,
    ood,
    search,
    set_guided,
    untested,
    worst,
)
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import (
    change,
    comparison,
    metric_name,
    number,
    score_of,
    summary,
    training,
    training_rates,
)
from mmfuse.survival.plot import p_in_words


def page(study: Study, title: str) -> str:
    """The whole page as HTML that loads nothing from elsewhere."""
    here = files("mmfuse.robustness.report")
    template = Template((here / "template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=blocks.text(title),
        style=(here / "style.css").read_text(encoding="utf-8"),
        plotly=_packed(get_plotlyjs()),
        script=(here / "page.js").read_text(encoding="utf-8"),
        facts=_facts(study),
        body="".join(_target(study, target) for target in study.targets) + untested.section(study),
    )


def _packed(script: str) -> str:
    """A script that the page unpacks for itself: plotly alone would be five megabytes."""
    return b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _facts(study: Study) -> str:
    metas = study.metas.values()
    lines = {
        "Fusion": [m["fusion"] for m in metas],
        "Rows": [f"{m['rows']:,}" for m in metas],
        "Modalities": [", ".join(m["modalities"]) for m in metas],
        "Targets": [
            ", ".join(f"{t} ({s['kind']})" for t, s in m["targets"].items()) for m in metas
        ],
        "Absence in training": [training(m) for m in metas],
        "Seed": [m["seed"] for m in metas],
        "Bootstrap resamples": [m["bootstrap"] or "none" for m in metas],
        "Versions": [", ".join(f"{n} {v}" for n, v in m["versions"].items()) for m in metas],
        "Evaluated": [m["created"] for m in metas],
    }
    return blocks.table(["", *study.models], [[name, *cells] for name, cells in lines.items()])


def _target(study: Study, target: str) -> str:
    heading = f"<h2>Target: {blocks.text(target)}</h2>" if len(study.targets) > 1 else ""
    return "".join(
        [
            f"<article>{heading}",
            blocks.section("In short", _summary(study, target)),
            search.section(study, target),
            _subsets(study, target),
            _mcar(study, target),
            _shifts(study, target),
            leak.section(study, target),
            matrix.section(study, target),
            _importance(study, target),
            interactions.section(study, target),
            corruptions.section(study, target),
            attacks.section(study, target),
            set_guided.section(study, target),
            ood.section(study, target),
            _calibration(study, target),
            coverage.section(study, target),
            _survival(study, target),
            _steps(study, target),
            baselines.section(study, target),
            worst.section(study, target),
            blocks.section("All numbers", blocks.folded("Every condition", _all(study, target))),
            "</article>",
        ]
    )


def _summary(study: Study, target: str) -> str:
    said = [blocks.bullets(comparison(study, target))]
    for model in study.models:
        if len(study.models) > 1:
            said.append(f"<h4>{blocks.text(model)}</h4>")
        more = (
            part.sentences(study, target, model)
            for part in (search, leak, corruptions, attacks, set_guided, ood, interactions)
        )
        said.append(blocks.bullets([*summary(study, target, model), *chain(*more)]))
    return "".join(said)


def _subsets(study: Study, target: str) -> str:
    figure = figures.subsets(study, target)
    if figure is None:
        return ""
    count = study.scores(target, "subset")["present"].nunique()
    shown = (
        f"Of {count} subsets the figure shows the {MOST // 2} worst and the {MOST // 2} best. "
        if count > MOST
        else ""
    )
    told = f"{shown}A filled dot is a modality that is kept; best subset on top."
    return blocks.section(
        "Score under every subset of modalities",
        blocks.paragraph(told),
        blocks.plot(figure, f"Score of {target} under every subset"),
    )


def _mcar(study: Study, target: str) -> str:
    figure = figures.mcar(study, target)
    if figure is None:
        return ""
    areas = [f"{m} {number(study.area(target, m))}" for m in study.models]
    return blocks.section(
        "Missing completely at random (MCAR)",
        blocks.plot(figure, f"Score of {target} over rates of absence"),
        blocks.paragraph(
            f"Area under the curve, divided by the highest rate: {', '.join(areas)}. "
            "The band is the 95 % interval."
            + (
                " Dots mark the rate in training."
                if any(map(training_rates, study.metas.values()))
                else ""
            )
        ),
    )


def _shifts(study: Study, target: str) -> str:
    figure = figures.shifts(study, target)
    if figure is None:
        return ""
    return blocks.section(
        "Missing at random (MAR), not at random (MNAR), or with a structure",
        blocks.plot(figure, f"Score of {target} where absence follows data or label"),
        blocks.paragraph(
            "Dashes show the score on complete data. 'Flipped' turns the relation round: those "
            "rows lose modalities that kept them before."
        ),
    )


def _importance(study: Study, target: str) -> str:
    parts = [
        blocks.plot(figure, f"Importance of each modality for {target}: {kind}")
        for kind, figure in figures.importance(study, target).items()
    ]
    if not parts:
        return ""
    table = study.of_target(study.importance, target)
    header = ["modality", "Shapley", "lost without it", "alone"]
    several = len(study.models) > 1
    lines = [
        [
            line["modality"],
            *([line["model"]] if several else []),
            _shapley(line),
            _signed(line["leave_one_out"]),
            number(line["alone"]),
        ]
        for _, line in table.sort_values("modality", key=_places(study), kind="stable").iterrows()
    ]
    if several:
        header.insert(1, "model")
    ways = {str(meta["shapley"]) for meta in study.metas.values()}
    told = {
        frozenset({"exact"}): "Shapley values are exact: every subset was evaluated.",
        frozenset({"estimate"}): "Shapley values are estimated from sampled orders of the "
        "modalities, ± standard error; bars show 1.96 of it either side.",
    }.get(frozenset(ways), "")
    return blocks.section(
        "What each modality is worth",
        blocks.side_by_side(*parts),
        blocks.table(header, lines),
        blocks.paragraph(told),
    )


def _places(study: Study) -> Callable[[pd.Series], pd.Series]:
    place = {modality: i for i, modality in enumerate(study.modalities)}
    return lambda column: column.map(place)


def _shapley(line: pd.Series) -> str:
    error = float(line["shapley_se"])
    return _signed(line["shapley"]) + (f" ± {number(error)}" if error > 0 else "")


def _signed(value: float) -> str:
    return "undefined" if math.isnan(value) else change(value)


def _calibration(study: Study, target: str) -> str:
    found = figures.calibration(study, target)
    parts = [
        blocks.plot(figure, f"{metric_name(metric)} of {target} under each condition")
        for metric, figure in found.items()
    ]
    names = study.scores(target, metric="ece")["condition"].nunique()
    left_out = names > MOST_CONDITIONS and bool(parts)
    return blocks.section(
        "Calibration",
        blocks.side_by_side(*parts),
        blocks.paragraph("Subsets are in the table of all numbers." if left_out else ""),
    )


def _survival(study: Study, target: str) -> str:
    figure = figures.survival(study, target)
    if figure is None:
        return ""
    every = study.outcomes[study.outcomes["target"] == target]
    tests = [
        f"{model}: {p_in_words(lines['time'], lines['event'], lines['group'])}"
        for model, lines in every.groupby("model", sort=False)
    ]
    fixed = [m for m, meta in study.metas.items() if target in meta.get("risk_thresholds", {})]
    where = "their training rows" if len(fixed) == len(study.models) else "these rows"
    return blocks.section(
        "Survival by predicted risk",
        blocks.plot(figure, f"Survival of {target} by predicted risk"),
        blocks.paragraph(
            f"Kaplan-Meier curves on complete data of the rows above and below the median risk of "
            f"{where}. {'; '.join(tests)}."
        ),
    )


def _steps(study: Study, target: str) -> str:
    figure = figures.steps(study, target)
    if figure is None:
        return ""
    which = f"Of {', '.join(study.steps['model'].unique())}. " if len(study.models) > 1 else ""
    return blocks.section(
        "Score after each step of the sequential fusion",
        blocks.plot(figure, f"Score of {target} after each step"),
        blocks.paragraph(f"{which}Complete data; the start is the learned initial state."),
    )


def _all(study: Study, target: str) -> str:
    table = study.conditions[study.conditions["target"] == target]
    metrics = list(dict.fromkeys(table["metric"]))
    several = len(study.models) > 1
    lines = []
    for (condition, model), group in table.groupby(["condition", "model"], sort=False):
        first = group.iloc[0]
        cells = {r["metric"]: score_of(r) for _, r in group.iterrows()}
        lines.append(
            [
                condition,
                *([model] if several else []),
                "" if math.isnan(first["rate"]) else f"{first['rate']:g}",
                f"{first['realised_rate']:.3f}",
                f"{first['rows']:,}",
                *(cells.get(metric, "") for metric in metrics),
            ]
        )
    header = ["condition", *(["model"] if several else []), "rate", "realised rate", "rows"]
    return blocks.table([*header, *map(metric_name, metrics)], lines)
