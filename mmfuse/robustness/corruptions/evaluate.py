"""evaluate_corruptions: a model, rows and corruptions -> scores by severity and their measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.data.datamodule import Split
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.recorded import described_or_named
from mmfuse.robustness.corruptions.measured import Measured, Valid, measure, with_valid
from mmfuse.robustness.corruptions.measures import measures
from mmfuse.robustness.corruptions.passes import (
    Corrupted,
    Curve,
    Plan,
    rows_of_batches,
    rows_of_data,
)
from mmfuse.robustness.corruptions.result import COLUMNS, EVERY, MEAN, MIXED, CorruptionResult
from mmfuse.robustness.corruptions.standard import Named, chosen_corruptions
from mmfuse.robustness.metrics import (
    HIGHER_IS_BETTER,
    MAIN_METRIC,
    interval,
    is_labelled,
    resampled,
)

_Lines = list[tuple[Any, ...]]


def evaluate_corruptions(
    model: FusionModel,
    data: FusionDataModule | Iterable[Batch],
    corruptions: Mapping[str, Sequence[Named]] | None = None,
    *,
    split: Split = "test",
    measured: Mapping[str, Measured] | None = None,
    valid: Valid | None = None,
    device: torch.device | str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> CorruptionResult:
    """Scores a model with each modality under each corruption at five severities.

    Rows are encoded once as they are; a corruption encodes the rows that have its modality
    anew, and those alone. A modality that a row lacks stays absent. All modalities corrupted at
    once costs no encoding of its own. Predictions are kept in a file, so that memory holds one
    batch and one curve.

    Args:
        model: read in eval mode; its mode is restored.
        data: where the rows are; or batches, whose corrupted modalities must be arrays, as
            texts, pictures, sounds and videos are corrupted before they are preprocessed.
        corruptions: for each modality to corrupt a list of corruptions, as objects, names or
            ``class_path`` with ``init_args``; None for every one that fits, see
            ``standard_corruptions``.
        split: which rows of ``data``, with natural gaps alone.
        measured: what is known of each modality; None for ``measure(data)``, or for batches
            what the model's spec tells.
        valid: for images that are arrays the values of black and white; None for the lowest and
            the highest value in training.
        device: where to compute; the model moves there. None leaves it where it is.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        seed: of what corruptions draw, and of the bootstrap.
        progress: called after each batch with the number of batches done.

    Raises:
        ConfigError: the model has no target; a corruption that does not fit its modality, or one
            that needs to know of training rows what is not known.
        UnknownModalityError: corruptions or ranges for a modality that the model lacks.
        DataError: no rows, no targets, or corrupted rows that an encoder refuses.
    """
    if not model.heads:
        raise ConfigError("An evaluation under corruptions needs a target; the model has none.")
    plan = chosen_corruptions(model.spec, corruptions)
    if measured is None and isinstance(data, FusionDataModule):
        measured = measure(data, model.spec)
    known = {m: Measured.of(s) for m, s in model.spec.modalities.items()} | dict(measured or {})
    if device is not None:
        model.to(device)
    found = Corrupted(model, plan, with_valid(known, valid), seed)
    if isinstance(data, FusionDataModule):
        found.read(rows_of_data(model, data, split), progress)
    else:
        found.read(rows_of_batches(model, data, plan), progress)
    scores, summary = _tables(found, bootstrap, seed)
    return CorruptionResult(
        pd.DataFrame(scores, columns=list(COLUMNS["scores"])),
        pd.DataFrame(summary, columns=list(COLUMNS["summary"])),
        {
            "modalities": {m: model.spec.modalities[m].kind for m in plan},
            "corruptions": {m: [_told(c) for c in cs] for m, cs in plan.items()},
            "main_metrics": {t: MAIN_METRIC[s.kind] for t, s in model.spec.targets.items()},
            "rows": len(found.present),
            "seed": seed,
            "bootstrap": bootstrap,
            "model": type(model).__name__,
            "fusion": type(model.fusion).__name__,
        },
    )


def _told(corruption: Any) -> dict[str, Any]:
    return {
        **described_or_named(corruption),
        "levels": list(corruption.levels),
        "unit": corruption.unit,
    }


def _tables(found: Corrupted, bootstrap: int, seed: int) -> tuple[_Lines, _Lines]:
    scores: _Lines = []
    summary: _Lines = []
    for target, spec in found.model.spec.targets.items():
        label = found.labels(target)
        known = is_labelled(spec, label)
        means: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
        for place, curve in enumerate(found.curves):
            modality, corruption = _names(curve)
            exposed = _exposed(found, found.plan, curve, known)
            drawn = resampled(spec, found.curve(target, place), label, bootstrap, seed)
            for metric, values in drawn.items():
                up = HIGHER_IS_BETTER[metric]
                head = (target, metric, modality, corruption)
                scores += [
                    (*head, severity, int(known.sum()), exposed, *ends, up)
                    for severity, ends in enumerate(zip(*interval(values), strict=True))
                ]
                summary += _measured(head, values, up)
                if modality != EVERY:
                    means.setdefault((modality, metric), []).append(values)
        for (modality, metric), curves in means.items():
            head = (target, metric, modality, MEAN)
            summary += _measured(head, np.mean(curves, axis=0), HIGHER_IS_BETTER[metric])
    return scores, summary


def _names(curve: Curve) -> tuple[str, str]:
    modality, corruption = curve
    return EVERY if modality is None else modality, corruption or MIXED


def _exposed(found: Corrupted, plan: Plan, curve: Curve, known: NDArray[np.bool_]) -> float:
    """The share of labelled rows that have what is corrupted."""
    hit = list(plan) if curve[0] is None else [curve[0]]
    columns = [found.model.modalities.index(m) for m in hit]
    there = np.asarray(found.present[known][:, columns].any(axis=1))
    return float(there.mean()) if len(there) else float("nan")


def _measured(head: tuple[str, ...], curve: NDArray[np.float64], up: bool) -> _Lines:
    found = measures(curve)
    ends = interval(np.stack(list(found.values())))
    return [
        (*head, name, *line, up) for name, line in zip(found, zip(*ends, strict=True), strict=True)
    ]
