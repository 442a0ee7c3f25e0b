"""AttackCurves: what attacks leave of a model's accuracy, as tables and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.robustness.metrics import mean_score
from mmfuse.robustness.saved import SavedTables

Bools = NDArray[np.bool_]

#: How much more accuracy cross-entropy must leave than the margin to speak of masking.
MASKING_GAP = 0.05
COLUMNS = (
    "attacked",
    "norm",
    "attack",
    "loss",
    "budget",
    "rows",
    "exposed",
    "accuracy",
    "low",
    "high",
    "gradient_masking",
)


@dataclass(frozen=True)
class Run:
    """What one attack on one loss left standing.

    Args:
        attacked: the moved modalities.
        norm: ``l2`` or ``linf``.
        attack: its name.
        loss: ``ce``, ``margin``, or ``none`` for noise.
        budgets: ascending, 0 first.
        fooled: ``(E, N)`` bool; the first line are the mistakes without an attack.
        exposed: ``(N,)`` bool, the rows that have one of the moved modalities.
    """

    attacked: tuple[str, ...]
    norm: str
    attack: str
    loss: str
    budgets: tuple[float, ...]
    fooled: Bools
    exposed: Bools


@dataclass(frozen=True)
class AttackCurves(SavedTables):
    """Accuracy by budget, attack and moved modalities.

    Args:
        table: one line for each set of moved modalities (``attacked``), ``norm``, ``attack``,
            ``loss`` and ``budget``: the labelled ``rows``, the share of them ``exposed`` (that
            have one of the modalities at least), the ``accuracy`` with its 95 % bootstrap
            interval ``low`` to ``high``. The attack ``worst`` counts a row as lost if any attack
            on any loss, noise included, won it within the budget, on these modalities or on some
            of them; its accuracy never rises with the budget. ``gradient_masking`` says of a
            budget that cross-entropy leaves at least 0.05 more accuracy than the margin does,
            and that the 95 % interval of this difference over the same rows lies above 0: the
            model's gradient of cross-entropy then hides how easily it errs.
        rows: one line for each row, set and norm: ``row``, ``label``, ``attacked``, ``norm``,
            and ``broken_at``, the smallest budget at which the worst attack won; 0 where the
            model errs by itself, infinity where none did.
        meta: ``modalities``, ``target``, ``on``, ``shared`` (the kind of budget), ``units``,
            ``attacks``, ``bootstrap``, ``seed``, in plain data.
    """

    what = "attack result"

    table: pd.DataFrame
    rows: pd.DataFrame
    meta: dict[str, Any]

    def worst(self, attacked: str, norm: str = "l2") -> pd.DataFrame:
        """The curve of the worst attack on some modalities, such as ``"image + audio"``."""
        table = self.table
        wanted = (table["attacked"] == attacked) & (table["norm"] == norm)
        return table[wanted & (table["attack"] == "worst")].reset_index(drop=True)

    @property
    def sentences(self) -> list[str]:
        """What a reader must know: the worst accuracy of each curve, and where gradients mask."""
        found = []
        for (attacked, norm), group in self.table.groupby(["attacked", "norm"], sort=False):
            worst = group[group["attack"] == "worst"]
            first, last = worst.iloc[0], worst.iloc[-1]
            if not last.exposed > 0:
                found.append(f"No row that was attacked has {attacked}: there is nothing to move.")
                continue
            found.append(
                f"Moving {attacked} by up to {last.budget:g} ({norm}) takes accuracy from "
                f"{first.accuracy:.3f} to {last.accuracy:.3f}."
            )
            masked = sorted(set(group.loc[group["gradient_masking"], "budget"]))
            if masked:
                at = ", ".join(f"{b:g}" for b in masked)
                found.append(
                    f"Gradient masking: moving {attacked} by {at} ({norm}), attacks on "
                    "cross-entropy leave far more accuracy than attacks on the margin. Quote the "
                    "worst attack alone."
                )
        return found


def tabled(runs: Sequence[Run], bootstrap: int, seed: int) -> tuple[pd.DataFrame, dict[Any, Bools]]:
    """The table of all runs with the worst of each set, and who the worst left standing."""
    lines: list[tuple[Any, ...]] = []
    worst = worst_of(runs)
    for key, lost in worst.items():
        attacked, norm = key
        mine = [r for r in runs if (r.attacked, r.norm) == key]
        budgets, exposed = mine[0].budgets, mine[0].exposed
        masked = _masked(mine, bootstrap, seed)
        curves = [(r.attack, r.loss, r.fooled) for r in mine] + [("worst", "all", lost)]
        for attack, loss, fooled in curves:
            score = mean_score("accuracy", (~fooled).astype(float), bootstrap, seed)
            lines += [
                (
                    " + ".join(attacked),
                    norm,
                    attack,
                    loss,
                    budget,
                    fooled.shape[1],
                    float(exposed.mean()) if len(exposed) else math.nan,
                    score.value[e],
                    score.low[e],
                    score.high[e],
                    bool(masked[e]),
                )
                for e, budget in enumerate(budgets)
            ]
    return pd.DataFrame(lines, columns=list(COLUMNS)), worst


def worst_of(runs: Sequence[Run]) -> dict[tuple[tuple[str, ...], str], Bools]:
    """For each set and norm who fell to any attack on it, or on a part of it, at no more budget."""
    found: dict[tuple[tuple[str, ...], str], Bools] = {}
    for run in runs:
        key = (run.attacked, run.norm)
        if key in found:
            continue
        within = [
            r.fooled for r in runs if r.norm == run.norm and set(r.attacked) <= set(run.attacked)
        ]
        found[key] = np.logical_or.accumulate(np.logical_or.reduce(within), axis=0)
    return found


def _masked(runs: Sequence[Run], bootstrap: int, seed: int) -> Bools:
    """``(E,)`` where cross-entropy leaves much more accuracy than the margin."""
    by_loss: Mapping[str, list[Bools]] = {
        loss: [r.fooled for r in runs if r.loss == loss] for loss in ("ce", "margin")
    }
    ce, margin = (np.logical_or.reduce(found) for found in by_loss.values())
    gap = mean_score("gap", margin.astype(float) - ce, bootstrap, seed)
    found = gap.value >= MASKING_GAP
    return np.asarray(found & (gap.low > 0) if bootstrap else found)
