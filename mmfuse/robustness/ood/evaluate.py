"""evaluate_ood: a model, rows in and out of distribution, and scores -> a table of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import UnimodalLoss, targets_of
from mmfuse.robustness.ood.base import OODScore, Reading, ReadingScore, class_logits
from mmfuse.robustness.ood.metrics import HIGHER_IS_BETTER, ood_intervals, ood_metrics
from mmfuse.robustness.ood.result import IN, OODResult, Shift
from mmfuse.robustness.ood.standard import class_target_of, standard_scores
from mmfuse.robustness.passes import evaluating

Inputs = tuple[Tensor, Tensor]


def evaluate_ood(
    model: FusionModel,
    train_batches: Iterable[Batch],
    in_batches: Iterable[Batch],
    out_batches: Mapping[str, Iterable[Batch]],
    scores: Mapping[str, OODScore] | None = None,
    *,
    target: str | None = None,
    heads: UnimodalLoss | None = None,
    shifts: Mapping[str, Shift] | None = None,
    device: torch.device | str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> OODResult:
    """Fits scores on training rows, and measures how they tell known rows from unknown ones.

    Every row is encoded once, whatever the number of scores. A modality that a set lacks counts
    as absent in its rows.

    Args:
        model: trained, with a head for classes; read in eval mode, its mode is restored.
        train_batches: rows that the model was trained on, with labels. Scores are fitted on
            these alone: never give validation or test rows. Not read where no score learns.
        in_batches: test rows of the known classes; with labels the accuracy is told.
        out_batches: for each name a set of rows out of distribution; no labels are needed.
        scores: what to measure, by name; they are fitted here. None for ``standard_scores``.
        target: the target of classes; None where there is one only.
        heads: for ``scores=None`` the trained unimodal heads, which add the disagreement of the
            modalities.
        shifts: for each set whether it is ``near`` (held-out classes) or ``far`` (other data).
        device: where to run the model, which moves there; None leaves it where it is. Scores
            are computed on the CPU.
        bootstrap: resamples behind each interval, 0 for none; see ``ood_intervals``.
        seed: of the resamples.
        progress: called after each batch with the set's name and the batches done of it.

    Raises:
        ConfigError: no head for classes, several targets and none named, a single class, no
            scores or sets, a set called ``in`` or ``train``, shifts that name no set, or heads
            beside scores.
        DataError: a set without rows, training rows without labels, or too few of them.
        UnknownModalityError: a set with a modality that the model does not know.
    """
    target = class_target_of(model, target)
    check_names(out_batches, shifts or {}, scores)
    if scores is None:
        scores = standard_scores(model, target, heads)
    elif heads is not None:
        raise ConfigError(
            "heads are for the standard scores. Among scores of your own give "
            "UnimodalDisagreement(heads)."
        )
    if device is not None:
        model.to(device)

    if learning := {name: score for name, score in scores.items() if score.learns}:
        train = _read(model, target, "train", train_batches, learning, progress)
        if not (train.labels >= 0).any():
            raise DataError(
                f"No training row has a label of {target!r}; scores are fitted on labelled rows."
            )
        for name, score in learning.items():
            score.fit(*train.inputs(name), train.labels)
    parts = {
        name: _read(model, target, name, batches, scores, progress)
        for name, batches in {IN: in_batches, **out_batches}.items()
    }
    table = [rows.table(name, scores) for name, rows in parts.items()]
    lines = _lines(dict(zip(parts, table, strict=True)), list(scores), bootstrap, seed)
    found = pd.DataFrame(lines, columns=["set", "score", "metric", "value", "low", "high", *_ROWS])
    found.insert(1, "shift", [(shifts or {}).get(name, "") for name in found["set"]])
    found["higher_is_better"] = found["metric"].map(HIGHER_IS_BETTER)
    return OODResult(found, pd.concat(table, ignore_index=True), parts[IN].accuracy(), target)


_ROWS = ("in_rows", "out_rows")


@dataclass(frozen=True)
class _Rows:
    """What a model made of all rows of a set, on the CPU.

    ``own`` holds what scores read besides fused vectors and logits.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    row: Tensor
    own: dict[str, Inputs]

    def inputs(self, score: str) -> Inputs:
        return self.own.get(score, (self.features, self.logits))

    def accuracy(self) -> float:
        known = self.labels >= 0
        right = self.logits.argmax(dim=1)[known] == self.labels[known]
        return float(right.double().mean())  # NaN for none

    def table(self, name: str, scores: Mapping[str, OODScore]) -> pd.DataFrame:
        labels = self.labels.double().numpy()
        columns = {
            "set": [name] * len(self.row),
            "row": self.row.numpy(),
            "label": np.where(labels < 0, np.nan, labels),
            "prediction": self.logits.argmax(dim=1).numpy(),
        }
        found = {s: score(*self.inputs(s)).numpy() for s, score in scores.items()}
        return pd.DataFrame(columns | found)


def check_names(
    sets: Mapping[str, object],
    shifts: Mapping[str, Shift],
    scores: Mapping[str, OODScore] | None,
) -> None:
    """Refuses names that say nothing, or that tables have for something else.

    Raises:
        ConfigError: no set or no score, a name that is taken, or a shift of no set or no kind.
    """
    if not sets or (scores is not None and not scores):
        raise ConfigError("An evaluation needs a set out of distribution and a score; one is none.")
    if taken := {IN, "train"} & set(sets):
        raise ConfigError(f"Sets out of distribution are called {sorted(taken)}; rename them.")
    if unknown := set(shifts) - set(sets):
        raise ConfigError(f"shifts names {sorted(unknown)}; the sets are {sorted(sets)}.")
    if wrong := {s for s in shifts.values() if s not in ("near", "far")}:
        raise ConfigError(f"shifts are {sorted(wrong)}; expected 'near' or 'far'.")
    if taken := {"set", "row", "label", "prediction"} & set(scores or {}):
        raise ConfigError(f"Scores are called {sorted(taken)}, as other columns are; rename them.")


def _read(
    model: FusionModel,
    target: str,
    name: str,
    batches: Iterable[Batch],
    scores: Mapping[str, OODScore],
    progress: Callable[[str, int], None] | None,
) -> _Rows:
    device = next(model.parameters()).device
    parts = []
    with torch.no_grad(), evaluating(model):
        for done, batch in enumerate(batches, start=1):
            if unknown := set(batch.modalities) - set(model.modalities):
                raise UnknownModalityError(
                    f"The set {name!r} has {sorted(unknown)}; the model knows "
                    f"{list(model.modalities)}. Leave out what it does not know."
                )
            if len(batch):
                parts.append(_one_batch(model, target, batch.to(device), scores))
            if progress is not None:
                progress(name, done)
    if not parts:
        raise DataError(f"The set {name!r} has no rows.")
    return _Rows(
        torch.cat([p.features for p in parts]),
        torch.cat([p.logits for p in parts]),
        torch.cat([p.labels for p in parts]),
        torch.cat([p.row for p in parts]),
        {s: _joined([p.own[s] for p in parts]) for s in parts[0].own},
    )


def _joined(parts: Sequence[Inputs]) -> Inputs:
    return torch.cat([f for f, _ in parts]), torch.cat([z for _, z in parts])


def _one_batch(
    model: FusionModel, target: str, batch: Batch, scores: Mapping[str, OODScore]
) -> _Rows:
    tokens, present = model.encode(batch), model.present(batch)
    output = model.read(model.fuse(tokens, present), present)
    reading = Reading(model, target, batch, tokens, present, output)
    own = {
        s: score.inputs(reading) for s, score in scores.items() if isinstance(score, ReadingScore)
    }
    if batch.target is None:
        labels = torch.full((len(batch),), -1)
    else:
        labels = targets_of(batch, model)[target].long()
    return _Rows(
        output.fused.vector.cpu(),
        class_logits(output.logits[target]).cpu(),
        labels.cpu(),
        batch.index.cpu(),
        {s: (f.cpu(), z.cpu()) for s, (f, z) in own.items()},
    )


def _lines(
    tables: Mapping[str, pd.DataFrame], scores: Sequence[str], bootstrap: int, seed: int
) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = []
    for name in [n for n in tables if n != IN]:
        for score in scores:
            known, unknown = (tables[n][score].to_numpy(float) for n in (IN, name))
            spread = ood_intervals(known, unknown, bootstrap, seed)
            counts = [int((~np.isnan(side)).sum()) for side in (known, unknown)]
            values = ood_metrics(known, unknown)
            lines += [(name, score, m, v, *spread[m], *counts) for m, v in values.items()]
    return lines
