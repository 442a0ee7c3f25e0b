"""The page on baselines: what each modality tells alone."""

from __future__ import annotations

from mmfuse.robustness.report import blocks, figures
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import kept_name, metric_name, score_of


def section(study: Study, target: str) -> str:
    """Each baseline beside the fused model with the other modalities taken away."""
    every = study.baselines[study.baselines["target"] == target]
    if every.empty:
        return ""
    figure = figures.baselines(study, target)
    main = figures.alone(study, target)
    lines = [[r["condition"], r["model"], score_of(r)] for _, r in main.iterrows()]
    others = every[every["metric"] != study.main_metric(target)]
    rest = [
        [kept_name(r["modalities"]), r["model"], metric_name(r["metric"]), score_of(r)]
        for _, r in others.iterrows()
    ]
    metric = metric_name(study.main_metric(target))
    return blocks.section(
        "What each modality tells alone",
        blocks.paragraph(
            "Simple baselines on the same rows, each trained on the modalities it reads, beside "
            "the fused model with the others taken away."
        ),
        blocks.plot(figure, f"Baselines of {target}") if figure is not None else "",
        blocks.table(["modalities", "model", metric], lines) if lines else "",
        blocks.folded(
            "Other metrics", blocks.table(["modalities", "model", "metric", "score"], rest)
        )
        if rest
        else "",
    )
