"""The page's worst rows, with their inputs to look at."""

from __future__ import annotations

from mmfuse.robustness.report import blocks
from mmfuse.robustness.report.sections import information
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import number
from mmfuse.robustness.worst import WorstRows


def section(study: Study, target: str) -> str:
    """A table for each model: what was wrong, and what the model saw."""
    parts = []
    several = len(study.models) > 1
    for model, found in study.findings.items():
        if found.worst is None or not (found.worst.rows["target"] == target).any():
            continue
        if several:
            parts.append(f"<h4>{blocks.text(model)}</h4>")
        parts.append(_table(found.worst, target))
        if found.interactions is not None:
            worst = found.worst.rows
            rows = worst.loc[worst["target"] == target, "row"].astype(int).tolist()
            parts.append(information.of_rows(found.interactions, target, rows))
    told = blocks.paragraph(
        "The rows with the greatest loss on complete data; under each input what the model says "
        "with that modality alone."
    )
    return blocks.section("The worst rows", told, *parts) if parts else ""


def _table(worst: WorstRows, target: str) -> str:
    names = list(worst.meta["modalities"])
    shows = {(r["row"], r["modality"]): r["show"] for _, r in worst.inputs.iterrows()}
    lines = []
    for _, line in worst.rows[worst.rows["target"] == target].iterrows():
        cells = [
            blocks.text(line["row"]),
            blocks.text(line["label"]),
            blocks.text(line["prediction"]),
            blocks.text(number(line["loss"])),
        ]
        for m in names:
            picture = blocks.shown(
                str(shows.get((line["row"], m), "")), f"{m} of row {line['row']}"
            )
            alone = line[f"only {m}"]
            said = f"<small>{blocks.text(alone)}</small>" if alone else ""
            cells.append(picture + said or "absent")
        lines.append(cells)
    return blocks.rich_table(["row", "truth", "prediction", "loss", *names], lines)
