"""The page's last word: what was not tested, so that nobody takes it for passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmfuse.robustness.findings import PARTS, Findings
from mmfuse.robustness.report import blocks
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.result import RobustnessResult
from mmfuse.robustness.search.space import KIND

_SUITES = {
    "corruptions": "No input was corrupted: nothing is known of noise, blur or misspelt words.",
    "attacks": "No attack was run: nothing is known of inputs that are made to fool the model.",
    "ood": "No rows from elsewhere were shown: nothing is known of inputs it should refuse.",
    "interactions": "Interactions of modalities were not looked at.",
    "leak": "Whether who is absent tells the answer by itself was not checked.",
    "worst": "Single rows were not looked at.",
}
_FAMILIES = {
    "mcar": "absence completely at random",
    "mar": "absence that another modality decides",
    "mnar": "absence that the label decides",
    "value_mnar": "absence that the lost value decides",
    "one_lost": "rows that lose exactly one modality",
    "imbalanced_mcar": "unequal rates",
    "block": "modalities that are lost together",
    "bursts": "runs of rows",
}

# Of more classes than this without rows a few are named.
_SHOWN = 8


def section(study: Study) -> str:
    """A list for each model."""
    parts = []
    for model, found in study.findings.items():
        if len(study.models) > 1:
            parts.append(f"<h4>{blocks.text(model)}</h4>")
        parts.append(blocks.bullets(untested(found)))
    return f"<article>{blocks.section('What was not tested', *parts)}</article>"


def untested(found: Findings) -> list[str]:
    """What a study of one model left out, a sentence each."""
    said = _unseen(found.absence)
    families = set(found.absence.conditions["family"])
    lacking = [what for family, what in _FAMILIES.items() if family not in families]
    if lacking:
        said.append(f"Not simulated: {'; '.join(lacking)}.")
    if all(facts["kind"] == KIND for facts in found.absence.meta["targets"].values()):
        said += _search(found)
    else:
        said += [_SUITES[n] for n in PARTS if getattr(found, n) is None and n in _SUITES]
    if found.attacks is not None:
        said += _attacks(found.attacks.meta, set(found.attacks.table["norm"]))
    if found.interactions is not None:
        said += [f"Not decomposed: {what}." for what in found.interactions.meta["left_out"]]
    if found.ood is not None:
        shifts = {"near": "classes held out", "far": "other data"}
        lacking = [w for s, w in shifts.items() if s not in set(found.ood.table["shift"])]
        said += [f"No set out of distribution is marked as {s}." for s in lacking]
    said.append(
        "Other trainings: this is one training run with one seed; how much another would differ "
        "is not part of any interval here."
    )
    return said


def _search(found: Findings) -> list[str]:
    """What is said of a model without a target."""
    attacked = found.set_guided
    return [
        *([_SUITES["attacks"]] if attacked is None else _set_guided(attacked.meta)),
        *([_SUITES["worst"]] if found.worst is None else []),
        "As the model predicts no target, nothing is known of corrupted inputs, of rows from "
        "elsewhere, of interactions between modalities, and of what the mask alone tells.",
        "No classical model stands beside it, as none of them searches across modalities; "
        "chance does.",
    ]


def _unseen(result: RobustnessResult) -> list[str]:
    """Modalities that no row has, and classes that no row is of."""
    said = []
    if "complete" in result.masks:
        has = result.kept("complete")
        lacking = [m for i, m in enumerate(result.meta["modalities"]) if not has[:, i].any()]
        said += [f"{m}: no row has it, so that nothing is known of its worth." for m in lacking]
    table = result.predictions
    for target, facts in result.meta["targets"].items():
        if facts["kind"] in ("binary", "multiclass"):
            own = table[(table["condition"] == "complete") & (table["target"] == target)]
            seen = set(own["label"].dropna().astype(int))
            lacking = [str(c) for i, c in enumerate(facts["classes"]) if i not in seen]
            if lacking:
                shown = ", ".join(lacking[:_SHOWN]) + ", ..." * (len(lacking) > _SHOWN)
                of = f"{len(lacking)} of {len(facts['classes'])} classes"
                said.append(f"{target}: no row is labelled {shown} ({of}).")
    return said


def _set_guided(meta: Mapping[str, Any]) -> list[str]:
    said = []
    if still := meta["still"]:
        said.append(f"Not attacked: {', '.join(still)}, as no gradient leads to such inputs.")
    if len(meta["models"]) < 2:
        said.append("Whether attacks carry over from or to other models was not tried.")
    other = "l2" if meta["norm"] == "linf" else "linf"
    said.append(f"Not attacked: within {other} budgets, or by more than gradients.")
    return said


def _attacks(meta: Mapping[str, Any], norms: set[str]) -> list[str]:
    said = []
    if lacking := {"l2", "linf"} - norms:
        said.append(f"Not attacked: within {', '.join(sorted(lacking))} budgets.")
    if meta["on"] == "tokens":
        said.append(
            "Inputs themselves were not attacked, but what encoders make of them: no bound on raw "
            "inputs follows."
        )
    said.append("No attack knew more than gradients, and none was adapted to this model by hand.")
    return said
