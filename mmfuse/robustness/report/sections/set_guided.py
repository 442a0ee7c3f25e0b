"""The page on set-guided attacks: what a search no longer finds, by budget, and between models."""

from __future__ import annotations

from functools import partial

import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.attacks import SearchCurves
from mmfuse.robustness.attacks.search_result import OWN
from mmfuse.robustness.attacks.transfer import ATTACK, NOISE
from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import number, with_interval

_NORMS = {"l2": "l2", "linf": "l-infinity"}
#: What is drawn: a model's result, and what was moved.
_Voices = dict[str, tuple[SearchCurves, str]]


def section(study: Study, target: str) -> str:
    """Curves of each search among the target's items, a table of transfer, and every number."""
    found = of_target(study, target)
    if not found:
        return ""
    item = _item(study, target)
    queries = list(dict.fromkeys(q for r in found.values() for q in _queries(r, item)))
    figures = [
        f"<div><h4>{blocks.text(f'{query} → {item}: {what}')}</h4>"
        + blocks.plot(_figure(voices, query, item), f"Success of attacks on {query} → {item}")
        + "</div>"
        for query in queries
        for what, voices in _voices(found).items()
    ]
    return blocks.section(
        "Under set-guided attack",
        blocks.paragraph(
            "The share of queries that found their item and no longer do, as inputs of queries and "
            "items are moved away from all of their partners; dots are noise of the same size, "
            "which the model should bear. The band is the 95 % interval."
        ),
        blocks.paragraph(_measured(found)),
        blocks.side_by_side(*figures),
        *(_transfer(found, item)),
        blocks.folded("Every attack, model and budget", _table(found, item)),
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of one model: everything moved, noise, and what carries over."""
    result = of_target(study, target).get(model)
    if result is None:
        return []
    item, moved, said = _item(study, target), result.sets[-1], []
    for query in _queries(result, item):
        line, noise = (result.curve(query, item, moved, by).iloc[-1] for by in (ATTACK, NOISE))
        if not line["right"]:
            said.append(f"Before any attack no {query} found its {item} among {line['rows']:,}.")
            continue
        said.append(
            f"Moving {moved} by {line['budget']:g} ({_NORMS[result.meta['norm']]}) makes "
            f"{_success(line)} of the {line['right']:,} rows whose {query} found their {item} "
            f"lose it, noise of that size {number(noise['success'])}."
        )
        others = _between(result, query, item, moved)
        said += [
            f"Attacks made on {source} carry over to {target}: {_success(line)}."
            for (source, target), line in others.items()
            if source != target and OWN in (source, target)
        ]
    return said


def of_target(study: Study, target: str) -> dict[str, SearchCurves]:
    """The result of each model that was attacked and searches among these items."""
    item = _item(study, target)
    found = {model: f.set_guided for model, f in study.findings.items()}
    return {m: r for m, r in found.items() if r is not None and item in r.meta["modalities"]}


def _item(study: Study, target: str) -> str:
    """The searched modality; "" of what is predicted."""
    every = (meta["targets"].get(target, {}) for meta in study.metas.values())
    return next((str(facts["searched"]) for facts in every if "searched" in facts), "")


def _queries(result: SearchCurves, item: str) -> list[str]:
    table = result.table
    return list(dict.fromkeys(table.loc[table["item"] == item, "query"]))


def _voices(found: dict[str, SearchCurves]) -> dict[str, _Voices]:
    """A figure of one model with all that was moved, or of all models for each."""
    if len(found) == 1:
        result = next(iter(found.values()))
        sets = result.sets[-len(looks.COLOURS) :]
        title = "each modality and all" if len(sets) > 1 else sets[0]
        return {title: {s: (result, s) for s in sets}}
    sets = list(dict.fromkeys(s for result in found.values() for s in result.sets))
    return {s: {m: (r, s) for m, r in found.items() if s in r.sets} for s in sets}


def _figure(voices: _Voices, query: str, item: str) -> go.Figure:
    figure = go.Figure()
    for i, (name, (result, moved)) in enumerate(voices.items()):
        colour = looks.colour(i)
        lines, noise = (_from_zero(result.curve(query, item, moved, by)) for by in (ATTACK, NOISE))
        tell = partial(_told, moved)
        plots.budget_curve(figure, lines, noise, "success", name, colour, tell)
    figure.update_layout(
        xaxis={"title": "budget", "rangemode": "tozero"},
        yaxis={"title": "no longer found", "range": [0, 1.02]},
    )
    return plots.dressed(figure, 320)


def _from_zero(lines: pd.DataFrame) -> pd.DataFrame:
    """The curve from budget 0 on, at which nothing is lost."""
    start = lines.head(1).assign(budget=0.0, success=0.0, low=0.0, high=0.0)
    return pd.concat([start, lines], ignore_index=True)


def _told(moved: str, line: pd.Series) -> str:
    return plots.safe(f"{moved}, {line['budget']:g}: {_success(line)}")


def _success(line: pd.Series) -> str:
    return with_interval(line["success"], line["low"], line["high"])


def _measured(found: dict[str, SearchCurves]) -> str:
    """Which rows searched, among how many, and what a budget of 1 is."""
    said = []
    for model, result in found.items():
        meta = result.meta
        prefix = f"{model}: " if len(found) > 1 else ""
        rows, whole = meta["rows"], meta.get("rows_of_split", meta["rows"])
        share = f"{rows:,} of {whole:,} rows" if whole > rows else f"All {rows:,} rows"
        still = f" Not moved: {', '.join(meta['still'])}." if meta["still"] else ""
        among = "the first" if meta["at"] == 1 else f"one of the first {meta['at']}"
        said.append(f"{prefix}{share} search among each other; found is what is {among}.{still} ")
    return "".join(said) + (
        "A budget of 1 is the median length of a row's modality, under l-infinity divided by the "
        "root of its size."
    )


def _between(
    result: SearchCurves, query: str, item: str, moved: str, by: str = ATTACK
) -> dict[tuple[str, str], pd.Series]:
    """At the highest budget what each model loses to attacks on each."""
    table = result.last
    wanted = (table["query"] == query) & (table["item"] == item)
    wanted &= (table["moved"] == moved) & (table["by"] == by)
    return {(r["source"], r["target"]): r for _, r in table[wanted].iterrows()}


def _transfer(found: dict[str, SearchCurves], item: str) -> list[str]:
    """A table for each model that was attacked beside others."""
    parts = []
    for model, result in found.items():
        models = result.meta["models"]
        if len(models) < 2:
            continue
        moved = result.sets[-1]
        lines = []
        for query in _queries(result, item):
            attacks, noise = (_between(result, query, item, moved, by) for by in (ATTACK, NOISE))
            for source in models:
                cells = [_success(attacks[source, t]) for t in models]
                lines.append([f"{query} → {item}", source, *cells])
            calm = [number(noise[t, t]["success"]) for t in models]
            lines.append([f"{query} → {item}", "noise", *calm])
        title = f"{model}: between models" if len(found) > 1 else "Between models"
        parts.append(
            f"<h4>{blocks.text(title)}</h4>"
            + blocks.paragraph(
                f"Lines are the models on which {moved} was moved, by "
                f"{result.last['budget'].iloc[0]:g}; columns the models that are then asked."
            )
            + blocks.table(["search", "attacked", *models], lines)
        )
    return parts


def _table(found: dict[str, SearchCurves], item: str) -> str:
    several = len(found) > 1
    lines = [
        [
            f"{r['query']} → {r['item']}",
            *([model] if several else []),
            r["source"],
            r["target"],
            r["moved"],
            r["by"],
            f"{r['budget']:g}",
            f"{r['rows']:,}",
            f"{r['right']:,}",
            f"{r['found']:,}",
            _success(r),
        ]
        for model, result in found.items()
        for _, r in result.table[result.table["item"] == item].iterrows()
    ]
    header = ["search", *(["model"] if several else []), "attacked", "asked", "moved", "by"]
    return blocks.table([*header, "budget", "rows", "found before", "found after", "lost"], lines)
