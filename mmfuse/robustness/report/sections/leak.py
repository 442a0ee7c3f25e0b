"""The page on leaks: what the mask alone tells of the target."""

from __future__ import annotations

from mmfuse.robustness.leak_result import LeakResult
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
            "any modality. MCAR's masks are chance alone: compare with its lines, as fitting adds "
            "to what the intervals tell."
        ),
        blocks.table(["condition", "model", metric, "chance", ""], lines),
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of the data as they are."""
    result = of_target(study, target).get(model)
    if result is None:
        return []
    table = result.table[result.table["target"] == target]
    # Cross-validation adds to what the interval tells: masks of pure chance are the yardstick.
    chance = table.loc[table["family"] == "mcar", "high"].max()
    own = table[(table["condition"] == "complete") & table["leaks"]]
    own = own[~(own["value"] <= chance)]
    if own.empty:
        return []
    line = own.iloc[int(own["value"].to_numpy(float).argmax())]
    return [
        f"The data's own gaps tell of the target: {metric_name(line['metric'])} "
        f"{score_of(line)} from the mask alone, chance {number(line['chance'])}."
    ]


def of_target(study: Study, target: str) -> dict[str, LeakResult]:
    """The result of each model whose data were checked for this target."""
    found = {model: f.leak for model, f in study.findings.items()}
    return {m: r for m, r in found.items() if r is not None and (r.table["target"] == target).any()}
