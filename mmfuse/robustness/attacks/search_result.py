"""SearchCurves: what attacks leave of a search, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.robustness.attacks.transfer import ATTACK
from mmfuse.robustness.saved import SavedTables

#: What the studied model is called beside others.
OWN = "this model"
COLUMNS = (
    *("source", "target", "moved", "by", "query", "item", "budget"),
    *("rows", "right", "found", "success", "low", "high"),
)


@dataclass(frozen=True)
class SearchCurves(SavedTables):
    """Success of attacks on a search, by budget, and carried over between models.

    Args:
        table: one line for each model that was attacked (``source``) and asked (``target``),
            modalities ``moved`` and ``by`` what (``attack`` or ``noise``), ``query`` and ``item``
            modality, and ``budget``: the ``rows`` that have both, how many of them were ``right``
            before and how many ``found`` their own after, and the ``success``: the share of the
            right ones that no longer find it, with its 95 % bootstrap interval ``low`` to
            ``high``; NaN where none was right.
        meta: ``modalities``, ``moved``, ``still`` (those that are not), ``models``, ``norm``,
            ``units`` (what a budget of 1 is), ``at`` (how many items are looked at), ``rows``,
            ``attack``, ``bootstrap``, ``seed``, in plain data.
    """

    what = "attacked search"

    table: pd.DataFrame
    meta: dict[str, Any]

    @property
    def sets(self) -> list[str]:
        """What was moved: each modality, and all of them last."""
        return list(dict.fromkeys(self.table["moved"]))

    def curve(self, query: str, item: str, moved: str, by: str = ATTACK) -> pd.DataFrame:
        """The model's own success by budget, attacked and asked itself."""
        table = self.between(OWN, OWN, query, item)
        wanted = (table["moved"] == moved) & (table["by"] == by)
        return table[wanted].sort_values("budget").reset_index(drop=True)

    def between(self, source: str, target: str, query: str, item: str) -> pd.DataFrame:
        """All lines of one search of one model under attacks on another."""
        table = self.table
        wanted = (table["source"] == source) & (table["target"] == target)
        wanted &= (table["query"] == query) & (table["item"] == item)
        return table[wanted].reset_index(drop=True)

    @property
    def last(self) -> pd.DataFrame:
        """The lines of the highest budget, at which all models were attacked."""
        table = self.table
        return table[table["budget"] == table["budget"].max()].reset_index(drop=True)
