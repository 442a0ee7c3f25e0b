"""Told: what one pass over the data says of a model, before it becomes a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.batch import Batch
from mmfuse.robustness.conditions import Condition
from mmfuse.robustness.passes import Facts


@dataclass(frozen=True)
class Asks:
    """What is asked of a model, whatever its kind; fields as the arguments of ``evaluate``."""

    batches: Iterable[Batch]
    facts: Facts
    conditions: Sequence[Condition]
    bootstrap: int
    importance: bool
    seed: int
    progress: Callable[[int], None] | None


@dataclass(frozen=True)
class Told:
    """Tables of a ``RobustnessResult``, and what the rest of it is made from.

    Args:
        conditions: as there.
        predictions: as there.
        importance: as there.
        steps: as there.
        coverage: as there.
        targets: of each target its facts, as in ``meta``.
        main_metrics: as in ``meta``.
        shapley: as in ``meta``.
        rows: ``(N,)`` row numbers.
        kept: ``(C, N, M)`` bool, who was left under each condition.
    """

    conditions: pd.DataFrame
    predictions: pd.DataFrame
    importance: pd.DataFrame
    steps: pd.DataFrame
    coverage: pd.DataFrame
    targets: dict[str, dict[str, Any]]
    main_metrics: dict[str, str]
    shapley: str
    rows: NDArray[np.int64]
    kept: NDArray[np.bool_]
