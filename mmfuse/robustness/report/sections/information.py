"""The page's bits: what two modalities tell of the label, by each estimator, and its bounds."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import plotly.graph_objects as go

from mmfuse.robustness.interactions.result import InteractionResult
from mmfuse.robustness.report import blocks, looks, plots
from mmfuse.robustness.report.words import number, with_interval

_PARTS = {
    "redundancy": "either says it",
    "unique1": "the first alone",
    "unique2": "the second alone",
    "synergy": "only both together",
}
_NAMES = {"clusters": "by clusters", "neural": "by networks"}
_WORDS = {
    "clusters": "By clusters: the encodings of these rows are cut into clusters and the counts "
    "decomposed exactly. Counts of few rows look informative, above all of synergy: pale bars are "
    "the same with labels dealt out anew, and a part no larger than its own is no finding.",
    "neural": "By networks: classifiers and an alignment of the encodings are fitted to training "
    "rows and read on these. What they failed to learn, or what does not carry over to these rows, "
    "they call no information, so that they err low where clusters err high. Their intervals leave "
    "out that other networks would differ.",
    "bounds": "Bounds on synergy use no row that has both modalities and a label: those with one "
    "and a label, and those with both, by clusters. A lower bound no larger than with labels dealt "
    "out anew is no finding.",
}


def figures(result: InteractionResult, target: str) -> list[str]:
    """A figure for each estimator."""
    pid = _of(result.pid, target)
    return [
        f"<div><h4>Bits {name}</h4>"
        + blocks.plot(_figure(own), f"Information on {target} {name}, in bits")
        + "</div>"
        for estimator, name in _NAMES.items()
        if len(own := pid[pid["estimator"] == estimator])
    ]


def words(results: Iterable[InteractionResult]) -> list[str]:
    """What the estimators used are, and how they differ."""
    used = {e for result in results for e in result.meta["estimators"]}
    return [told for estimator, told in _WORDS.items() if estimator in used]


def bounds(result: InteractionResult, target: str) -> str:
    """A table of what synergy lies between; nothing where nobody asked."""
    table = _of(result.bounds, target)
    estimates = _of(result.pid, target)
    estimates = estimates[estimates["part"] == "synergy"]
    names = {e: n for e, n in _NAMES.items() if (estimates["estimator"] == e).any()}
    lines = []
    for (first, second), own in table.groupby(["first", "second"], sort=False):
        lower = own[own["part"].str.startswith("lower")]
        best = lower.sort_values("bits", ascending=False, kind="stable").iloc[0]
        upper = own[own["part"] == "upper"].iloc[0]
        here = estimates[(estimates["first"] == first) & (estimates["second"] == second)]
        said = {r["estimator"]: number(r["bits"]) for _, r in here.iterrows()}
        lines.append(
            [
                f"{first} and {second}",
                f"{number(best['bits'])}{_chance(best)}",
                number(upper["bits"]),
                *(said.get(e, "") for e in names),
                f"{best['rows_first']:,}, {best['rows_second']:,}; {best['rows_both']:,}",
            ]
        )
    if not lines:
        return ""
    header = ["pair", "synergy at least", "at most", *names.values()]
    return blocks.table([*header, "rows with one and a label; with both"], lines)


def every_pair(result: InteractionResult, target: str) -> str:
    """A table of interactions and parts."""
    bits = {
        (r["first"], r["second"], r["estimator"], r["part"]): f"{number(r['bits'])}{_chance(r)}"
        for _, r in _of(result.pid, target).iterrows()
    }
    used = [e for e in _NAMES if e in result.meta["estimators"]]
    lines = [
        [
            f"{r['first']} and {r['second']}",
            with_interval(r["value"], r["low"], r["high"]),
            _NAMES.get(estimator, ""),
            *(bits.get((r["first"], r["second"], estimator, part), "") for part in _PARTS),
        ]
        for _, r in _of(result.pairs, target).iterrows()
        for estimator in used or [""]
    ]
    if not lines:
        return ""
    parts = ["redundancy", "unique to first", "unique to second", "synergy"]
    return blocks.table(["pair", "interaction", "bits", *parts], lines)


def of_rows(result: InteractionResult, target: str, rows: Iterable[int]) -> str:
    """What each pair of modalities says of single rows; nothing where none was decomposed."""
    table = _of(result.rows, target).set_index("row")
    lines = [
        [
            row,
            f"{r['first']} and {r['second']}",
            _NAMES[r["estimator"]],
            *(f"{r[part]:+.2f}" for part in _PARTS),
        ]
        for row in dict.fromkeys(rows)
        if row in table.index
        for _, r in table.loc[[row]].iterrows()
    ]
    if not lines:
        return ""
    told = (
        "What each adds to the parts: below zero it speaks against the truth. Row by row these "
        "are estimates of high variance."
    )
    header = ["row", "pair", "bits", *_PARTS]
    return blocks.folded(
        "What pairs of modalities say of these rows, in bits",
        blocks.paragraph(told) + blocks.table(header, lines),
    )


def _of(table: pd.DataFrame, target: str) -> pd.DataFrame:
    return table[table["target"] == target].reset_index(drop=True)


def _chance(line: pd.Series) -> str:
    return "" if pd.isna(line["chance"]) else f" (chance {number(line['chance'])})"


def _figure(pid: pd.DataFrame) -> go.Figure:
    """Bars of bits for each pair and part, chance beside them."""
    pairs = list(dict.fromkeys(zip(pid["first"], pid["second"], strict=True)))
    names = [f"{a} and {b}" for a, b in pairs]
    figure = go.Figure()
    for i, (part, meaning) in enumerate(_PARTS.items()):
        lines = pid[pid["part"] == part].rename(columns={"bits": "value"})
        y = [pairs.index(p) for p in zip(lines["first"], lines["second"], strict=True)]
        shift = 0.3 - 0.2 * i
        if lines["chance"].notna().any():
            figure.add_bar(
                x=lines["chance"],
                y=[p - shift for p in y],
                width=0.18,
                orientation="h",
                marker={"color": plots.faint(looks.colour(i))},
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=lines["value"],
            y=[p - shift for p in y],
            error_x=plots.interval(lines, looks.colour(i)),
            mode="markers",
            marker={"size": 8, "color": looks.colour(i)},
            name=f"{part.rstrip('12')}: {meaning}",
            customdata=[
                plots.safe(
                    f"{r['first']} and {r['second']}, {meaning}: "
                    f"{with_interval(r['value'], r['low'], r['high'])} bits{_chance(r)}"
                )
                for _, r in lines.iterrows()
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": "bits", "rangemode": "tozero"}, yaxis=plots.named_axis(names)
    )
    return plots.dressed(figure, plots.height(names, len(_PARTS), 14))
