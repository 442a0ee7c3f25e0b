"""Leak check: how much of the target can be told from who is absent, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from mmfuse.baselines.mask_models import MASK_MODELS, fit_mask
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness import Condition, complete
from mmfuse.robustness.leak_result import LEVEL
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
COLUMNS = (
    *("model", "metric", "value", "low", "high", "higher_is_better", "chance"),
    *("p", "leaks", "rows"),
)
#: With fewer permutations no p is as low.
FEWEST = 39


def mask_leak(
    present: NDArray[np.bool_],
    label: NDArray[Any],
    spec: TargetSpec,
    *,
    models: Sequence[str] = MASK_MODELS,
    folds: int = 5,
    groups: NDArray[Any] | None = None,
    permutations: int = 199,
    bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores models that read the mask alone, each row by one that was not fitted on it.

    A model that is to say what modalities tell must not be told the answer by who is absent.
    Masks that depend on nothing score at chance; where they depend on the label, whatever the
    score lies above chance can be had without looking at any modality.

    Whether it does is decided by a permutation test: masks are dealt out anew among the labelled
    rows, models are fitted and scored again in the same folds, and ``p`` is the share of these
    and the masks as they are that score as much. Rows without groups are exchanged one by one,
    which makes p exact. With groups whole groups exchange their masks, so that what rows of a
    group share is no leak by itself; among groups of unequal size, where a smaller one gives its
    masks more than once, p is close to exact. The interval is that of the predictions made, and
    leaves out what fitting to other rows would add.

    Args:
        present: ``(N, M)`` who is there.
        label: of each row as in ``Batch``, ``(N,)`` or ``(N, K)``.
        spec: the target.
        models: of ``MASK_MODELS``. The linear one adds up what each modality's absence says;
            the table of patterns also sees who is absent together.
        folds: of the cross-validation, stratified where classes are frequent enough.
        groups: ``(N,)`` rows of one group stay in one fold, as a mask that a group shares would
            otherwise give its members away.
        permutations: how often masks are dealt out; 0 for no test, and 39 at least to find a leak.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        seed: of folds, permutations and resamples.

    Returns:
        one line a model: ``model``, ``metric`` (AUROC, R2 for values, concordance for survival),
        ``value``, ``low``, ``high``, ``higher_is_better``, ``chance``, ``p`` (NaN without
        permutations), ``leaks`` (p is at most 0.025, so that of data without a leak one of both
        models is flagged at most once in twenty) and the labelled ``rows``

    Raises:
        ConfigError: fewer than two folds, permutations below 0, or an unknown model.
        DataError: too few labelled rows or groups for the folds, or not as many labels as rows.

    Example:
        >>> label = np.arange(40) % 2
        >>> told = np.stack([label == 1, np.ones(40, bool)], axis=1)
        >>> found = mask_leak(told, label, TargetSpec("binary"), permutations=39)
        >>> found["value"].tolist(), found["leaks"].tolist()
        ([1.0, 1.0], [True, True])
    """
    present, label = np.asarray(present), np.asarray(label)
    if folds < 2:
        raise ConfigError(f"folds is {folds}; a cross-validation needs two or more.")
    if permutations < 0:
        raise ConfigError(f"permutations is {permutations}; expected 0 or more, such as 199.")
    if unknown := sorted(set(models) - set(MASK_MODELS)):
        raise ConfigError(f"models names {unknown}; known are {list(MASK_MODELS)}.")
    if len(label) != len(present):
        raise DataError(f"There are {len(present)} rows of masks and {len(label)} of labels.")
    known = is_labelled(spec, label.astype(float))
    y = label[known]
    patterns, code = np.unique(present[known].astype(float), axis=0, return_inverse=True)
    code = code.reshape(-1)
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
    draw = np.random.default_rng(seed)
    dealt = [code, *(_dealt(code, groups, draw) for _ in range(permutations))]
    lines = []
    for variant in models:

        def said(codes: NDArray[np.int64], variant: str = variant) -> NDArray[np.float32]:
            guess: NDArray[np.float32] | None = None
            for fitted, held_out in parts:
                of_pattern = fit_mask(variant, spec, patterns, codes[fitted], y[fitted])
                if guess is None:
                    guess = np.empty((len(y), of_pattern.shape[1]), np.float32)
                guess[held_out] = of_pattern[codes[held_out]]
            assert guess is not None
            return guess

        value, low, high = _scored(spec, metric, said(code)[None], y, bootstrap, seed)
        p = math.nan
        if permutations:
            anew = np.stack([said(codes) for codes in dealt[1:]])
            chances = _scored(spec, metric, anew, y, 0, seed)[0]
            # A score that is undefined for some masks is none that speaks for chance or against.
            as_much = int((chances >= value[0] - 1e-9).sum() + np.isnan(chances).sum())
            p = (1 + as_much) / (1 + permutations)
        lines.append(
            (variant, metric, value[0], low[0], high[0], True, chance, p, p <= LEVEL, len(y))
        )
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _scored(
    spec: TargetSpec,
    metric: str,
    guess: NDArray[np.float32],
    y: NDArray[Any],
    bootstrap: int,
    seed: int,
) -> tuple[NDArray[np.float64], ...]:
    """The metric and its interval for each of several predictions ``(C, N, K)``."""
    every = score(spec, guess, y.astype(float), bootstrap, seed)
    found = next(s for s in every if s.metric == metric)
    return found.value, found.low, found.high


def _dealt(
    code: NDArray[np.int64], groups: NDArray[Any] | None, draw: np.random.Generator
) -> NDArray[np.int64]:
    """Masks dealt out anew: among rows, or groups' masks among groups."""
    if groups is None:
        return draw.permutation(code)
    place = np.unique(groups, return_inverse=True)[1].reshape(-1)
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    found = np.empty_like(code)
    for rows, giver in zip(members, draw.permutation(len(members)), strict=True):
        found[rows] = np.resize(draw.permutation(code[members[giver]]), len(rows))
    return found


def mask_leaks(
    data: FusionDataModule,
    conditions: Sequence[Condition] | None = None,
    split: str = "train",
    *,
    models: Sequence[str] = MASK_MODELS,
    folds: int = 5,
    permutations: int = 199,
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
        permutations: as ``mask_leak``.
        bootstrap: as ``mask_leak``.
        seed: as ``mask_leak``.
        progress: called before each condition with its name.

    Returns:
        the lines of ``mask_leak`` after ``condition``, ``family``, ``rate``, ``realised_rate``
        and ``target``

    Raises:
        ConfigError: fewer than two folds, permutations below 0, or an unknown model or split.
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
                permutations=permutations,
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
