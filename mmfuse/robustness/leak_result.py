"""LeakResult: what a model that reads the masks alone can tell of the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.robustness.saved import SavedTables


@dataclass(frozen=True)
class LeakResult(SavedTables):
    """Scores of classical models that are shown who is absent, and nothing else.

    Args:
        table: one line for each condition, target and model, as ``mask_leaks`` gives them.
        meta: ``split``, ``conditions`` (those asked for), ``bootstrap``, ``seed``, in plain data.
    """

    what = "leak check"

    table: pd.DataFrame
    meta: dict[str, Any]
