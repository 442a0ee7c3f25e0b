"""InteractionResult: what an evaluation of modalities and their pairs found, as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.robustness.saved import SavedTables

COLUMNS: dict[str, tuple[str, ...]] = {
    "importance": ("target", "score", "modality", "reading", "value", "low", "high"),
    "pairs": ("target", "score", "first", "second", "value", "low", "high"),
    "pid": (
        *("target", "first", "second", "estimator", "part"),
        *("bits", "low", "high", "chance", "rows"),
    ),
    "bounds": (
        *("target", "first", "second", "part", "bits", "chance"),
        *("rows_first", "rows_second", "rows_both"),
    ),
    "rows": (
        *("target", "first", "second", "estimator", "row"),
        *("redundancy", "unique1", "unique2", "synergy"),
    ),
    "types": ("target", "type", "share", "rows"),
}


@dataclass(frozen=True)
class InteractionResult(SavedTables):
    """Why modalities matter, of a model and of the data.

    Args:
        importance: one line for each target, modality and ``reading``: those of
            ``mean_importance``, and ``permuted``, what is lost with another row's modality. In
            units of ``score``, which is that of ``row_scores``, averaged over rows.
        pairs: the Shapley interaction of every two modalities: above 0 they are worth more
            together than apart, below 0 they repeat each other.
        pid: the partial information decomposition of two modalities' encodings and the label, in
            bits: ``part`` is ``redundancy``, ``unique1`` (of ``first``), ``unique2`` or
            ``synergy``; ``estimator`` is ``clusters`` or ``neural``; ``chance`` the same with
            labels dealt out anew, NaN for networks; ``rows`` those that have both and a label. It
            tells of the data as the encoders show them, not of the fusion.
        bounds: what is known of the parts without a row that has both modalities and a label,
            from those that have one and a label (``rows_first``, ``rows_second``) and those that
            have both (``rows_both``): ``part`` is of ``SynergyBounds``, its bounds being of
            synergy. Empty unless asked for.
        rows: what each row adds to the parts, in bits, either sign: ``row`` is its number in its
            data set. Their means are those of ``pid``.
        types: the ``share`` of rows of each type of ``item_types``; empty where not every subset
            was scored, or the target is of values.
        meta: ``modalities``, ``clusters``, ``left_out`` (pairs without a decomposition, and why),
            ``estimators``, ``seed``, ``bootstrap``, in plain data.
    """

    what = "result of interactions"

    importance: pd.DataFrame
    pairs: pd.DataFrame
    pid: pd.DataFrame
    bounds: pd.DataFrame
    rows: pd.DataFrame
    types: pd.DataFrame
    meta: dict[str, Any]
