"""Leak check: how much of the target can be told from who is absent, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from mmfuse.baselines.models import BASELINES, fit_baseline
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness import Condition, complete
from mmfuse.robustness.metrics import is_labelled, score
from mmfuse.spec import TargetKind, TargetSpec

#: What tells a leak for each kind of target, and its value where nothing leaks.
LEAK_METRIC: dict[TargetKind, tuple[str, float]] = {
    "binary": ("auroc", 0.5),
    "multiclass": ("auroc", 0.5),
    "multilabel": ("auroc", 0.5),
    "regression": ("r2", 0.0),
    "survival": ("c_index", 0.5),
}
COLUMNS = ("model", "metric", "value", "low", "high", "higher_is_better", "chance", "leaks", "rows")


def mask_leak(
    present: NDArray[np.bool_],
    label: NDArray[Any],
    spec: TargetSpec,
    *,
    models: Sequence[str] = BASELINES,
    folds: int = 5,
    groups: NDArray[Any] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores models that read the mask alone, each row by one that was not fitted on it.

    A model that is to say what modalities tell must not be told the answer by who is absent.
    Masks that depend on nothing score at chance; where they depend on the label, whatever the
    score lies above chance can be had without looking at any modality. The interval is that of
    the predictions made; fitting to other rows would add to it, so that masks of chance are called
    leaking more often than once in forty. Put the line of an ``MCAR`` beside.

    Args:
        present: ``(N, M)`` who is there.
        label: of each row as in ``Batch``, ``(N,)`` or ``(N, K)``.
        spec: the target.
        models: of ``BASELINES``. The linear one adds up what each modality's absence says;
            boosting also sees who is absent together.
        folds: of the cross-validation, stratified where classes are frequent enough.
        groups: ``(N,)`` rows of one group stay in one fold, as a mask that a group shares would
            otherwise give its members away.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        seed: of folds, models and resamples.

    Returns:
        one line a model: ``model``, ``metric`` (AUROC, R2 for values, concordance for survival),
        ``value``, ``low``, ``high``, ``higher_is_better``, ``chance``, ``leaks`` (``low`` lies
        above chance; without bootstrap, False) and the labelled ``rows``

    Raises:
        ConfigError: fewer than two folds, or an unknown model.
        DataError: too few labelled rows or groups for the folds, or not as many labels as rows.

    Example:
        >>> label = np.arange(40) % 2
        >>> told = np.stack([label == 1, np.ones(40, bool)], axis=1)
        >>> found = mask_leak(told, label, TargetSpec("binary"), models=["linear model"])
        >>> float(found["value"].item()), bool(found["leaks"].item())
        (1.0, True)
    """
    present, label = np.asarray(present), np.asarray(label)
    if folds < 2:
        raise ConfigError(f"folds is {folds}; a cross-validation needs two or more.")
    if unknown := sorted(set(models) - set(BASELINES)):
        raise ConfigError(f"models names {unknown}; known are {list(BASELINES)}.")
    if len(label) != len(present):
        raise DataError(f"There are {len(present)} rows of masks and {len(label)} of labels.")
    known = is_labelled(spec, label.astype(float))
    x, y = present[known].astype(float), label[known]
    groups = None if groups is None else np.asarray(groups)[known]
    units = len(y) if groups is None else len(np.unique(groups))
    if units < 2 * folds:
        what = "labelled rows" if groups is None else "groups"
        raise DataError(
            f"{units} {what} are too few for {folds} folds of a leak check, which needs two in "
            "each. Give more, or ask for fewer folds."
        )
    metric, chance = LEAK_METRIC[spec.kind]
    parts = list(_folds(spec, y, groups, folds, seed))
    lines = []
    for variant in models:
        guess: NDArray[np.float32] | None = None
        for fitted, held_out in parts:
            said = fit_baseline(variant, spec, x[fitted], y[fitted], seed)(x[held_out])
            if guess is None:
                guess = np.empty((len(y), said.shape[1]), np.float32)
            guess[held_out] = said
        assert guess is not None
        found = next(
            s
            for s in score(spec, guess[None], y.astype(float), bootstrap, seed)
            if s.metric == metric
        )
        value, low, high = (float(v[0]) for v in (found.value, found.low, found.high))
        lines.append((variant, metric, value, low, high, True, chance, low > chance, len(y)))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def mask_leaks(
    data: FusionDataModule,
    conditions: Sequence[Condition] | None = None,
    split: str = "train",
    *,
    models: Sequence[str] = BASELINES,
    folds: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """``mask_leak`` of the data's own gaps and of simulated absence, for each target.

    Args:
        data: the data set; rows of one of its ``groups`` stay in one fold.
        conditions: None for the data as they are alone. Those under which every row has the
            same modalities are left out of the table: their masks tell nothing.
        split: the rows.
        models: as ``mask_leak``.
        folds: as ``mask_leak``.
        bootstrap: as ``mask_leak``.
        seed: as ``mask_leak``.
        progress: called before each condition with its name.

    Returns:
        the lines of ``mask_leak`` after ``condition``, ``family``, ``rate``, ``realised_rate``
        and ``target``

    Raises:
        ConfigError: fewer than two folds, or an unknown model or split.
        DataError: too few labelled rows or groups for the folds.
        UnknownModalityError: a condition names a modality that the data lacks.
    """
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split is {split!r}; expected train, val or test.")
    facts, rows = data.facts(split), data.rows(split)  # type: ignore[arg-type]
    targets = data.dataset(split).targets  # type: ignore[arg-type]
    groups = None if facts.cluster is None else _alone(facts.cluster.numpy())
    there = max(int(facts.present.sum()), 1)
    parts = []
    for condition in [complete()] if conditions is None else conditions:
        if progress is not None:
            progress(condition.name)
        kept = facts.present
        if condition.missing is not None:
            kept = kept & condition.missing.keep(facts)
        if len(kept) and (kept == kept[0]).all():
            continue
        for target, values in targets.items():
            found = mask_leak(
                kept.numpy(),
                values[rows].numpy(),
                data.spec.targets[target],
                models=models,
                folds=folds,
                groups=groups,
                bootstrap=bootstrap,
                seed=seed,
            )
            told = {
                "condition": condition.name,
                "family": condition.family,
                "rate": float(condition.rate),
                "realised_rate": 1 - float(kept.sum()) / there,
                "target": target,
            }
            parts.append(pd.DataFrame({**{k: [v] * len(found) for k, v in told.items()}, **found}))
    first = ["condition", "family", "rate", "realised_rate", "target"]
    empty = pd.DataFrame({column: [] for column in (*first, *COLUMNS)})
    return pd.concat(parts, ignore_index=True) if parts else empty


def _alone(cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Clusters, in which each row of an unknown one is its own."""
    own = cluster.max(initial=0) + 1 + np.arange(len(cluster))
    return np.where(cluster < 0, own, cluster)


def _folds(
    spec: TargetSpec, y: NDArray[Any], groups: NDArray[Any] | None, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    rows = np.arange(len(y))
    strata = None
    if spec.kind in ("binary", "multiclass"):
        strata = y.astype(np.int64)
    elif spec.kind == "survival":
        strata = y[:, 1].astype(np.int64)
    if strata is not None and np.unique(strata, return_counts=True)[1].min() < folds:
        strata = None  # scikit-learn warns of classes that some folds lack
    options = {"n_splits": folds, "shuffle": True, "random_state": seed}
    if groups is not None:
        if strata is None:
            return iter(GroupKFold(**options).split(rows, groups=groups))
        return iter(StratifiedGroupKFold(**options).split(rows, strata, groups))
    if strata is None:
        return iter(KFold(**options).split(rows))
    return iter(StratifiedKFold(**options).split(rows, strata))
