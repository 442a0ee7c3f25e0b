"""searched: how an aligned model's rows find their items under every condition, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.errors import DataError
from mmfuse.model import FusionModel
from mmfuse.robustness import tables
from mmfuse.robustness.conditions import Condition
from mmfuse.robustness.metrics import mean_score
from mmfuse.robustness.result import COLUMNS, empty_table
from mmfuse.robustness.search.passes import Asked, ask_under
from mmfuse.robustness.search.ranking import Found, ranked
from mmfuse.robustness.search.space import KIND, MAIN, require_shared_space, target_of
from mmfuse.robustness.told import Asks, Told


def searched(model: FusionModel, asks: Asks) -> Told:
    """Scores of the search among the items of each modality.

    Each row that has modality m asks, with the fused vector of what is left of its *other*
    modalities, for its own item among all items m of these rows, whatever the condition. A row
    with nothing left to ask with gets what a random order would give.

    Raises:
        ConfigError: the model's vectors do not lie in one space.
        DataError: no rows, no modality that any of them has, or rows that the facts lack.
    """
    require_shared_space(model, "A robustness evaluation")
    conditions = asks.conditions
    asked = ask_under(model, asks.batches, asks.facts, conditions, asks.progress)
    device = next(model.parameters()).device
    present = dict(zip(asked.modalities, asked.present.T, strict=True))
    found = {target_of(m): ranked(asked, m, device) for m, has in present.items() if has.any()}
    if not found:
        raise DataError("No row has any modality, so that there is nothing to find. Give others.")
    scores = {
        t: [mean_score(name, lines, asks.bootstrap, asks.seed) for name, lines in f.scores.items()]
        for t, f in found.items()
    }
    others = {t: [m for m in asked.modalities if m != f.searched] for t, f in found.items()}
    main_metrics = dict.fromkeys(found, MAIN)
    parts, shapley = empty_table("importance"), "none"
    if asks.importance:
        parts, shapley = tables.importance_table(
            conditions, asked.modalities, others, main_metrics, scores, asks.seed
        )
    realised = {t: _realised(asked, f) for t, f in found.items()}
    table = tables.conditions_table(conditions, scores, realised)
    return Told(
        conditions=_distinct(table, _twice(conditions, found)),
        predictions=_distinct(_ranks(asked, found, conditions), _twice(conditions, found)),
        importance=parts,
        steps=empty_table("steps"),
        coverage=empty_table("coverage"),
        targets={
            t: {
                "kind": KIND,
                "classes": [],
                "searched": f.searched,
                "items": int(f.asks.sum()),
                "chance": f.chance,
            }
            for t, f in found.items()
        },
        main_metrics=main_metrics,
        shapley=shapley,
        rows=asked.rows,
        kept=asked.kept,
    )


def _realised(asked: Asked, found: Found) -> NDArray[np.float64]:
    """The share of what these rows could ask with that was taken away."""
    asks = np.array([m != found.searched for m in asked.modalities])
    return tables.realised_rate(
        asked.present[found.asks][:, asks], asked.kept[:, found.asks][:, :, asks]
    )


def _twice(conditions: Sequence[Condition], found: Mapping[str, Found]) -> dict[str, list[str]]:
    """For each target the subsets that differ from another one by the searched modality alone."""
    kept = {c.name: frozenset(c.kept) for c in conditions if c.kept is not None}
    known = set(kept.values())
    return {
        t: [n for n, s in kept.items() if f.searched in s and s - {f.searched} in known]
        for t, f in found.items()
    }


def _distinct(table: pd.DataFrame, twice: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The lines without those that say a second time what another one says."""
    again = pd.Series(False, index=table.index)
    for target, names in twice.items():
        again |= (table["target"] == target) & table["condition"].isin(names)
    return table[~again].reset_index(drop=True)


def _ranks(
    asked: Asked, found: Mapping[str, Found], conditions: Sequence[Condition]
) -> pd.DataFrame:
    """One line for each row, condition and target: the ``prediction`` is the rank."""
    names = [c.name for c in conditions]
    frames = []
    for target, f in found.items():
        rank = np.full((len(names), len(asked.rows)), np.nan)
        rank[:, f.asks] = f.rank
        part = tables.row_lines(asked.rows, names, np.where(f.asks, 1.0, np.nan), rank)
        size = len(part["row"])
        part["target"] = tables.constant(target, sorted(found), size)
        part["output"] = tables.constant("", [""], size)
        frames.append(pd.DataFrame(part, copy=False))
    return pd.concat(frames, ignore_index=True)[list(COLUMNS["predictions"])]
