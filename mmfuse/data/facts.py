"""Facts: what simulators may know of rows, computed once from training rows' statistics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mmfuse.data.columns import Column, Numeric
from mmfuse.data.content import blocks
from mmfuse.data.media import MediaColumn
from mmfuse.missing import RowFacts
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec


class Facts:
    """Every row's label group and every modality's own value, as ``RowFacts`` defines them.

    Args:
        spec: what the data looks like, standardisation included.
        columns: the modalities' readers.
        targets: the targets; the first one gives the group.
        train: the training rows, by which quantiles are taken.
        cluster: each row's group as the source names it, -1 where unknown; None where it names
            none.
    """

    def __init__(
        self,
        spec: DataSpec,
        columns: Mapping[str, Column],
        targets: Mapping[str, Tensor],
        train: Tensor,
        cluster: np.ndarray | None = None,
    ) -> None:
        self.modalities = tuple(spec.modalities)
        self._spec, self._columns, self._train = spec, columns, train.numpy()
        self.cluster = None if cluster is None else torch.from_numpy(cluster).long()
        rows = len(next(iter(columns.values())))
        self.group = torch.full((rows,), -1)
        for name, target in list(spec.targets.items())[:1]:
            if name in targets:  # a trained model's spec names targets that new rows may lack
                self.group = groups(target, targets[name], train)

    def measure(self) -> None:
        """Finds every ``value`` now, so that no worker has to."""
        assert self.value is not None

    @cached_property
    def value(self) -> Tensor:
        """Each modality's own value, ``(N, M)``; found when a simulator is there to ask."""
        values = [
            _quantiles(row_values(self._spec.modalities[m], c), c.present, self._train)
            for m, c in self._columns.items()
        ]
        return torch.from_numpy(np.stack(values, axis=1))

    def of(self, rows: Tensor, present: Tensor) -> RowFacts:
        """The facts of some rows."""
        cluster = None if self.cluster is None else self.cluster[rows]
        return RowFacts(self.modalities, rows, present, self.group[rows], self.value[rows], cluster)


def groups(spec: TargetSpec, target: Tensor, train: Tensor) -> Tensor:
    """The label group of each row: the class, or above the training median; -1 unknown.

    For survival whether the event was seen.
    """
    if spec.kind in ("binary", "multiclass"):
        return target.long()
    if spec.kind == "survival":
        return target[:, 1].nan_to_num(-1).long()
    score = target.double()
    if score.dim() > 1:
        score = score.sum(dim=1) if spec.kind == "multilabel" else score[:, 0]
    median = score[train].nanmedian()
    return (score > median).long().masked_fill(score.isnan(), -1)


def row_values(spec: ModalitySpec, column: Column) -> np.ndarray:
    """One number a row: the mean of its standardised numbers, its length or size; NaN absent.

    A missing cell counts as zero: the training mean, if data are standardised.
    """
    values = np.full(len(column), np.nan)
    rows = np.flatnonzero(column.present)
    if isinstance(column, MediaColumn):
        values[rows] = column.sizes[rows]
        return values
    if not isinstance(column, Numeric):
        values[rows] = [len(v) for v in column.take(rows)]
        return values
    for block in blocks(column, rows):
        numbers = np.nan_to_num(_standardised(spec, block.values))
        lines = numbers.reshape(len(numbers), -1).mean(axis=1)
        steps = np.bincount(block.owner, minlength=len(block.rows))
        values[block.rows] = np.bincount(block.owner, lines) / steps
    return values


def _standardised(spec: ModalitySpec, values: np.ndarray) -> np.ndarray:
    if spec.kind == "table":
        values = values[..., : spec.numeric_width] if spec.numeric_width else values
    if not spec.mean:
        return values
    shape = (-1, 1, 1) if spec.kind == "image" else (-1,)
    return (values - np.reshape(spec.mean, shape)) / np.reshape(spec.std, shape)


def _quantiles(values: np.ndarray, present: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Each value's place among the training values, in [0, 1]; 0.5 where absent."""
    known = np.sort(values[train][present[train]])
    if not len(known):
        return np.full(len(values), 0.5)
    low = np.searchsorted(known, values, side="left")
    high = np.searchsorted(known, values, side="right")
    return np.where(present, (low + high) / (2 * len(known)), 0.5)
