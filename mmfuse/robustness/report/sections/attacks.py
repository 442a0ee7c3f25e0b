"""The page on attacks: accuracy by budget, for each moved modality and norm."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.attacks import AttackCurves
from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import number, with_interval

_NORMS = {"l2": "l2", "linf": "l-infinity"}
# More sets of modalities than this stand in the table alone.
_MOST = 9


def section(study: Study, target: str) -> str:
    """Curves, what must be known of them, and every number; nothing where there was no attack."""
    curves = of_target(study, target)
    if not curves:
        return ""
    figures = []
    for norm, name in _NORMS.items():
        for attacked, figure in _figures(curves, norm).items():
            label = f"Accuracy of {target} under {name} attacks on {attacked}"
            title = f"<h4>{blocks.text(f'{name}: {attacked}')}</h4>"
            figures.append(f"<div>{title}{blocks.plot(figure, label)}</div>")
    return blocks.section(
        "Under attack",
        blocks.paragraph(
            "Accuracy as inputs are moved against the model. A line counts a row as lost if any "
            "attack on any loss won it; dots are noise of the same length, which the model should "
            "bear. The band is the 95 % interval."
        ),
        blocks.paragraph(_measured(curves)),
        blocks.side_by_side(*figures),
        blocks.folded("Every attack, loss and budget", _table(curves)),
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of one model: all modalities moved, and the weakest alone."""
    curves = of_target(study, target).get(model)
    if curves is None:
        return []
    said = []
    for norm in dict.fromkeys(curves.table["norm"]):
        ends = {s: curves.worst(s, norm).iloc[-1] for s in _sets(curves.table, norm, most=None)}
        *single, everything = ends
        single = [s for s in single if ends[s]["exposed"] > 0]  # some row has it
        before, line = curves.worst(everything, norm).iloc[0], ends[everything]
        sentence = (
            f"Moving {everything} by {line['budget']:g} ({_NORMS[norm]}) takes accuracy from "
            f"{number(before['accuracy'])} to {number(line['accuracy'])}"
        )
        if single:
            weakest = min(single, key=lambda s: float(ends[s]["accuracy"]))
            sentence += f"; {weakest} alone to {number(ends[weakest]['accuracy'])}"
        said.append(f"{sentence}.")
    masked = curves.table.loc[curves.table["gradient_masking"], "attacked"].unique()
    if len(masked):
        said.append(
            f"Gradients mask how easily it errs, moving {'; '.join(masked)}: attacks on "
            "cross-entropy alone would flatter it."
        )
    return said


def of_target(study: Study, target: str) -> dict[str, AttackCurves]:
    """The curves of each model that was attacked on this target."""
    found = {model: f.attacks for model, f in study.findings.items()}
    return {m: c for m, c in found.items() if c is not None and c.meta["target"] == target}


def _figures(curves: dict[str, AttackCurves], norm: str) -> dict[str, go.Figure]:
    """A figure of one model with all sets, or of all models for each set."""
    if len(curves) == 1:
        found = next(iter(curves.values()))
        sets = _sets(found.table, norm)
        figure = _figure({s: (found, s) for s in sets}, norm)
        title = "each modality and all" if len(sets) > 1 else "all at once"
        return {title: figure} if sets else {}
    sets = list(dict.fromkeys(s for c in curves.values() for s in _sets(c.table, norm)))
    return {
        s: _figure({m: (c, s) for m, c in curves.items() if s in _sets(c.table, norm)}, norm)
        for s in sets
    }


def _sets(table: pd.DataFrame, norm: str, most: int | None = _MOST) -> list[str]:
    """The moved sets, all modalities last; of too many that one alone."""
    every = list(dict.fromkeys(table.loc[table["norm"] == norm, "attacked"]))
    every.sort(key=lambda s: s.count(" + "))
    return every if most is None or len(every) <= most else every[-1:]


def _figure(voices: dict[str, tuple[AttackCurves, str]], norm: str) -> go.Figure:
    figure = go.Figure()
    for i, (name, (curves, attacked)) in enumerate(voices.items()):
        colour = looks.colour(i)
        lines = curves.worst(attacked, norm)
        table = curves.table
        noise = table[
            (table["attacked"] == attacked) & (table["norm"] == norm) & (table["attack"] == "Noise")
        ]
        plots.budget_curve(figure, lines, noise, "accuracy", name, colour, _told)
    figure.update_layout(
        xaxis={"title": "budget", "rangemode": "tozero"},
        yaxis={"title": "accuracy", "range": [0, 1.02]},
    )
    return plots.dressed(figure, 320)


def _told(line: pd.Series) -> str:
    score = with_interval(line["accuracy"], line["low"], line["high"])
    return plots.safe(f"{line['attacked']}, {line['budget']:g}: {score}")


def _measured(curves: dict[str, AttackCurves]) -> str:
    """Which rows were attacked, on what, and what a budget of 1 is."""
    said = []
    for model, found in curves.items():
        rows = int(found.table["rows"].iloc[0])
        whole = found.meta.get("rows_of_split", rows)
        prefix = f"{model}: " if len(curves) > 1 else ""
        where = "what encoders make of them" if found.meta["on"] == "tokens" else "inputs"
        share = f"{rows:,} of {whole:,} rows" if whole > rows else f"all {rows:,} rows"
        said.append(f"{prefix}Attacks on {where}, {share}.")
    if any(found.meta["units"] for found in curves.values()):
        said.append(
            "A budget of 1 is the median length of a row's modality, under l-infinity divided by "
            "the root of its size."
        )
    return " ".join(said)


def _table(curves: dict[str, AttackCurves]) -> str:
    several = len(curves) > 1
    lines = [
        [
            r["attacked"],
            *([model] if several else []),
            r["norm"],
            r["attack"],
            r["loss"],
            f"{r['budget']:g}",
            with_interval(r["accuracy"], r["low"], r["high"]),
            "masked" if r["gradient_masking"] else "",
        ]
        for model, found in curves.items()
        for _, r in found.table.iterrows()
    ]
    header = ["moved", *(["model"] if several else []), "norm", "attack", "loss", "budget"]
    return blocks.table([*header, "accuracy", "gradients"], lines)
