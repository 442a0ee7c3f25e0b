"""Encodings of rows, pooled, beside who is present and what class each row is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmfuse.batch import Batch
from mmfuse.errors import DataError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.metrics import is_labelled
from mmfuse.robustness.passes import evaluating
from mmfuse.spec import TargetSpec

# Values are cut into so many classes of equal size.
_BINS = 4


@dataclass(frozen=True)
class Encoded:
    """Pooled encodings and labels of rows.

    Args:
        row: each row's number in its data set.
        values: of each modality ``(N, D)``; those of absent ones mean nothing.
        present: of each modality ``(N,)``.
        labels: of each target, as in ``Batch``.
    """

    row: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    labels: dict[str, NDArray[np.float64]]

    def told(self, target: str, spec: TargetSpec, like: Encoded) -> Told | None:
        """The rows with their classes; None where a row has several labels or values.

        Args:
            target: its name.
            spec: the target's.
            like: rows whose values are cut into classes of equal size, where these are cut too.
        """
        label, own = (e.labels[target].reshape(len(e.row), -1) for e in (self, like))
        if label.shape[1] > 1:
            return None
        label, own = label[:, 0], own[:, 0]
        known = is_labelled(spec, label)
        classes = np.full(len(label), -1)
        classes[known] = label[known]
        if not spec.is_classification:
            own = own[is_labelled(spec, own)]
            if len(own):
                edges = np.quantile(own, np.linspace(0, 1, _BINS + 1)[1:-1])
                classes[known] = np.searchsorted(edges, label[known], side="right")
        return Told(self, classes)


@dataclass(frozen=True)
class Told:
    """Encoded rows and their classes by one target, -1 where unknown."""

    rows: Encoded
    classes: NDArray[np.int64]

    def both(self, first: str, second: str) -> NDArray[np.int64]:
        """Places of the rows that have two modalities and a class."""
        there = self.rows.present[first] & self.rows.present[second]
        return np.flatnonzero(there & (self.classes >= 0))


def encodings(model: FusionModel, batches: Sequence[Batch]) -> Encoded:
    """What the encoders make of rows; the model's mode is restored.

    Raises:
        DataError: no batch.
    """
    if not batches:
        raise DataError("There are no rows to encode.")
    device = next(model.parameters()).device
    values: dict[str, list[NDArray[np.float64]]] = {m: [] for m in model.modalities}
    labels: dict[str, list[NDArray[np.float64]]] = {t: [] for t in model.spec.targets}
    present, row = [], []
    with torch.no_grad(), evaluating(model):
        for batch in batches:
            here = batch.to(device)
            tokens = model.encode(here)
            row.append(batch.index.cpu().numpy())
            present.append(model.present(here).cpu().numpy())
            for t, y in targets_of(batch, model).items():
                labels[t].append(y.cpu().double().numpy())
            for m in model.modalities:
                width = model.fusion.dims[m]
                pooled = tokens[m].pooled() if m in tokens else torch.zeros(len(batch), width)
                values[m].append(pooled.cpu().double().numpy())
    there = np.concatenate(present)
    return Encoded(
        np.concatenate(row),
        {m: np.concatenate(parts) for m, parts in values.items()},
        {m: there[:, i] for i, m in enumerate(model.modalities)},
        {t: np.concatenate(parts) for t, parts in labels.items()},
    )
