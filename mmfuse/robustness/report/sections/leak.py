"""The page on leaks: what the mask alone tells of the target."""

from __future__ import annotations

from math import isnan

from mmfuse.robustness.leak_result import LEVEL, LeakResult
from mmfuse.robustness.report import blocks
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import metric_name, number, score_of


def section(study: Study, target: str) -> str:
    """A table of each condition; nothing where nobody asked."""
    results = of_target(study, target)
    if not results:
        return ""
    # It is of the data, not of the model, so that models on the same rows share it.
    result = next(iter(results.values()))
    table = result.table[result.table["target"] == target]
    lines = [
        [
            r["condition"],
            r["model"],
            score_of(r),
            number(r["chance"]),
            "" if isnan(r["p"]) else f"{r['p']:.3f}",
            "leaks" if r["leaks"] else "",
        ]
        for _, r in table.iterrows()
    ]
    metric = metric_name(table["metric"].iloc[0])
    return blocks.section(
        "What the mask alone tells",
        blocks.paragraph(
            "Scores of models that are shown who is absent and nothing else, cross-validated on "
            f"the {result.meta['split']} rows. Above chance, so much can be had without looking at "
            f"any modality. {_test(result)}"
        ),
        blocks.table(["condition", "model", metric, "chance", "p", ""], lines),
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of the data as they are."""
    result = of_target(study, target).get(model)
    if result is None:
        return []
    table = result.table[result.table["target"] == target]
    own = table[(table["condition"] == "complete") & table["leaks"].astype(bool)]
    if own.empty:
        return []
    line = own.iloc[int(own["value"].to_numpy(float).argmax())]
    return [
        f"The data's own gaps tell of the target: {metric_name(line['metric'])} "
        f"{score_of(line)} from the mask alone, chance {number(line['chance'])}, p {line['p']:.3f}."
    ]


def _test(result: LeakResult) -> str:
    count = result.meta["permutations"]
    if not count:
        return "No permutation test was asked for, so that nothing here is called a leak."
    whom = "whole groups" if result.meta["grouped"] else "rows"
    return (
        f"p is the share of {count + 1} rounds, {count} of them with masks dealt out anew among "
        f"{whom}, in which the score is as high. At most {LEVEL:g} is called a leak: of masks that "
        "are chance, as MCAR's are, each model calls one in forty so."
    )


def of_target(study: Study, target: str) -> dict[str, LeakResult]:
    """The result of each model whose data were checked for this target."""
    found = {model: f.leak for model, f in study.findings.items()}
    return {m: r for m, r in found.items() if r is not None and (r.table["target"] == target).any()}
