"""Setting: what a set of rows brings to the study: pairs of modalities, recipe, splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Rows(NamedTuple):
    """All rows of a set, and what each is for.

    Args:
        inputs: of each modality.
        label: ``(N,)`` classes as whole numbers from 0.
        split: ``(N,)`` ``train``, ``val``, ``test``, or ``""`` for a row that is left out.
    """

    inputs: Mapping[str, np.ndarray]
    label: np.ndarray
    split: np.ndarray


@dataclass(frozen=True)
class Setting:
    """A set, and how its models are trained.

    Args:
        name: of the set, and of its folder of results.
        unit: what the interval is over: ``test``, the parts that test in turn, each with the mean
            of its seeds, or ``seed``.
        tests: parts of the rows that test.
        seeds: of weights, batches and validation rows.
        searched: those of the seeds whose validation rows choose the weights.
        pairs: each student's modality, and the other one that its teacher reads besides.
        encoders: of each modality.
        epochs: of a student, and of a teacher that is trained by itself.
        co_training: epochs of MST-Distill's first stage.
        specialisation: epochs of its second.
        rate: the learning rate at the start of every fit, which ends at 0 by a cosine.
        decay: of weights.
        batch: rows of a step.
        rows: the rows, of a test part and a seed.
    """

    name: str
    unit: str
    tests: Sequence[Any]
    seeds: Sequence[int]
    searched: Sequence[int]
    pairs: Mapping[str, str]
    encoders: Mapping[str, Mapping[str, Any]]
    epochs: int
    co_training: int
    specialisation: int
    rate: float
    decay: float
    batch: int
    rows: Callable[[Any, int], Rows]
