"""LeakResult: what a model that reads the masks alone can tell of the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.robustness.saved import SavedTables

#: At most so probable under masks of chance, and a mask is called leaking.
LEVEL = 0.025


@dataclass(frozen=True)
class LeakResult(SavedTables):
    """Scores of models that are shown who is absent, and nothing else.

    Args:
        table: one line for each condition, target and model, as ``mask_leaks`` gives them.
        meta: ``split``, ``conditions`` (those asked for), ``permutations``, ``grouped`` (whether
            groups exchanged masks, not rows), ``bootstrap``, ``seed``, in plain data.
    """

    what = "leak check"

    table: pd.DataFrame
    meta: dict[str, Any]
