"""Search curves: aligned models, rows and budgets -> what is still found under attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.model import Towers
from mmfuse.robustness.attacks.search_result import COLUMNS, OWN, SearchCurves
from mmfuse.robustness.attacks.set_guided import SetGuidedAttack
from mmfuse.robustness.attacks.threat import Norm, checked_budgets
from mmfuse.robustness.attacks.transfer import Try, tries
from mmfuse.robustness.metrics import affordable, interval, resamples


def search_curves(
    model: Towers,
    rows: Sequence[Batch],
    budgets: Sequence[float],
    units: Mapping[str, float],
    others: Mapping[str, tuple[Towers, Sequence[Batch]]] | None = None,
    *,
    norm: Norm = "linf",
    steps: int = 10,
    noise: float = 0.05,
    at: int = 1,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> SearchCurves:
    """What rows no longer find once inputs are moved by set-level guidance, and by noise.

    Every modality searches every other one among these rows. Each modality of ``units`` is moved
    alone, and all of them together, in queries and items alike. Others are attacked at the
    highest budget alone, and asked at every one.

    Args:
        model: aligned encoders; read in eval mode, which is restored.
        rows: in batches; an attack sees those of one batch.
        budgets: how far; 0 is added.
        units: for each moved modality the size that counts as 1.
        others: by name other models, and the same rows as each of them reads them.
        norm: ``linf`` or ``l2``.
        steps: of each turn of the attack.
        noise: deviation of the noise in the attack's copies.
        at: how many items are looked at.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        seed: of the attack and of the bootstrap.
        progress: called after each budget of each attacked model.

    Raises:
        ConfigError: no budget above 0, no modality to move, fewer than one item to look at,
            another model of this one's name, or an input that cannot be moved.
        DataError: no rows.
        UnknownModalityError: a modality that a model lacks.
    """
    reach = [b for b in checked_budgets(budgets) if b > 0]
    if not reach or not units or at < 1:
        raise ConfigError(
            f"Search curves: found budgets {list(budgets)}, modalities {list(units)} and at {at}; "
            "expected a budget above 0, a modality to move and an item to look at."
        )
    if not sum(map(len, rows)):
        raise DataError("There are no rows to attack.")
    if OWN in (others or {}):
        raise ConfigError(f"{OWN!r} is what the attacked model is called; rename the other one.")
    models = {OWN: model} | {n: m for n, (m, _) in (others or {}).items()}
    given = {OWN: rows} | {n: r for n, (_, r) in (others or {}).items()}
    directions = list(permutations(model.modalities, 2))
    count = sum(map(len, rows))
    weight = resamples(count, affordable(count, bootstrap), seed)
    lines: list[tuple[Any, ...]] = []
    for budget in reach:
        eps = {m: budget * u for m, u in units.items()}
        attack = SetGuidedAttack(eps, norm, steps, noise=noise, seed=seed)
        sources = list(models) if budget == reach[-1] else [OWN]
        for source in sources:
            for t in tries(models, given, attack, directions, at=at, sources=[source]):
                lines += _lines(t, budget, weight)
            if progress is not None:
                progress()
    meta = {
        "modalities": list(model.modalities),
        "moved": list(units),
        "still": [m for m in model.modalities if m not in units],
        "models": list(models),
        "norm": norm,
        "units": dict(units),
        "at": at,
        "rows": count,
        "attack": repr(SetGuidedAttack(dict(units), norm, steps, noise=noise, seed=seed)),
        "bootstrap": bootstrap,
        "seed": seed,
    }
    return SearchCurves(pd.DataFrame(lines, columns=list(COLUMNS)), meta)


def _lines(found: Try, budget: float, weight: NDArray[np.float64]) -> Iterator[tuple[Any, ...]]:
    right, after = _floats(found.right), _floats(found.after)
    lost = right * (1 - after)
    value, low, high = interval(_ratio(lost @ weight, right @ weight)[None])
    yield (
        found.source,
        found.target,
        found.moved,
        found.by,
        *found.direction,
        budget,
        int(found.asks.sum()),
        int(right.sum()),
        int(after.sum()),
        value[0],
        low[0],
        high[0],
    )


def _floats(flags: Tensor) -> NDArray[np.float64]:
    return flags.double().numpy()


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
