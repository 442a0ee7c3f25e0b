"""Metrics of an out-of-distribution score, by scikit-learn, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from mmfuse.errors import DataError
from mmfuse.robustness.metrics import resamples

Array = NDArray[np.float64]

#: Each metric, and whether more of it is better.
HIGHER_IS_BETTER = {
    "auroc": True,
    "aupr_out": True,
    "aupr_in": True,
    "fpr95_out": False,
    "fpr95_in": False,
}
# Rows times resamples at a time: 32 MB of float64 an array.
_AT_ONCE = 2**22


def ood_metrics(in_scores: ArrayLike | Tensor, out_scores: ArrayLike | Tensor) -> dict[str, float]:
    """How well scores tell rows out of distribution (higher) from rows in distribution (lower).

    ==============  ============================================================================
    ``auroc``       area under the ROC curve; the same whichever side is positive
    ``aupr_out``    average precision, with rows **out** of distribution as positives
    ``aupr_in``     average precision, with rows **in** distribution as positives
    ``fpr95_out``   **out** is positive: share of rows in distribution that are flagged where
                    95 % of rows out of distribution are caught (MultiOOD)
    ``fpr95_in``    **in** is positive: share of rows out of distribution that pass where 95 % of
                    rows in distribution pass (most papers on images)
    ==============  ============================================================================

    All lie between 0 and 1. Average precision depends on how many rows each side has. For the
    FPR the threshold is the first of the scores met at which 95 % **or more** are caught; rows
    with equal scores fall on the same side. Only the order of the scores counts, so infinite
    ones are fine. NaN, as of a row that a score cannot judge, is left out; where it leaves a
    side without rows every metric is NaN.

    Args:
        in_scores: of rows in distribution, ``(n,)``.
        out_scores: of rows out of distribution, ``(m,)``.

    Raises:
        DataError: a side without rows, or scores that are not one number a row.

    Example:
        >>> ood_metrics([0.1, 0.2, 0.3, 0.8], [0.7, 0.9])["auroc"]
        0.875
    """
    score, is_out = _ranked(in_scores, out_scores)
    if is_out.all() or not is_out.any():
        return dict.fromkeys(HIGHER_IS_BETTER, float("nan"))
    return {
        "auroc": float(roc_auc_score(is_out, score)),
        "aupr_out": float(average_precision_score(is_out, score)),
        "aupr_in": float(average_precision_score(~is_out, -score)),
        "fpr95_out": _fpr95(is_out, score),
        "fpr95_in": _fpr95(~is_out, -score),
    }


def ood_intervals(
    in_scores: ArrayLike | Tensor,
    out_scores: ArrayLike | Tensor,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of ``ood_metrics``: rows are drawn anew on each side.

    Args:
        in_scores: of rows in distribution, ``(n,)``.
        out_scores: of rows out of distribution, ``(m,)``.
        bootstrap: resamples; above 20,000 rows at a thousand fewer are drawn, at least 100.
            0 gives NaN.
        seed: of the resamples.

    Raises:
        DataError: as ``ood_metrics``.
    """
    score, is_out = _ranked(in_scores, out_scores)
    if is_out.all() or not is_out.any() or not bootstrap:
        return dict.fromkeys(HIGHER_IS_BETTER, (float("nan"), float("nan")))
    count = min(bootstrap, max(100, 20_000_000 // len(score)))
    weight = np.empty((len(score), count))
    for side, which in enumerate((~is_out, is_out)):
        weight[which] = resamples(int(which.sum()), count, seed + side)[:, 1:]
    parts = np.array_split(weight, max(weight.size // _AT_ONCE, 1), axis=1)
    drawn = [_weighted(score, is_out, part) for part in parts if part.size]
    return {
        name: tuple(np.percentile(np.concatenate([d[name] for d in drawn]), [2.5, 97.5]).tolist())
        for name in HIGHER_IS_BETTER
    }


def _ranked(
    in_scores: ArrayLike | Tensor, out_scores: ArrayLike | Tensor
) -> tuple[Array, NDArray[np.bool_]]:
    """The places of all scores that are numbers, equal scores at one place, and who is out."""
    sides = []
    for name, given in (("in_scores", in_scores), ("out_scores", out_scores)):
        values = given.detach().cpu().double() if isinstance(given, torch.Tensor) else given
        side = np.asarray(values, dtype=np.float64)
        if side.ndim != 1 or not len(side):
            raise DataError(f"{name} has shape {side.shape}; expected one number a row, of some.")
        sides.append(side[~np.isnan(side)])
    is_out = np.repeat([False, True], [len(side) for side in sides])
    return rankdata(np.concatenate(sides), method="dense").astype(np.float64), is_out


def _fpr95(positive: NDArray[np.bool_], score: Array) -> float:
    fpr, tpr, _ = roc_curve(positive, score, drop_intermediate=False)
    return float(fpr[np.searchsorted(tpr, 0.95)])


def _weighted(score: Array, is_out: NDArray[np.bool_], weight: Array) -> Mapping[str, Array]:
    """The same metrics under many weightings at once, ``(rows, S) -> (S,)``.

    scikit-learn takes one weighting at a time, which a thousand resamples of every score cannot
    wait for; the tests hold these to its values.
    """
    found = {}
    for name, positive, order in (("out", is_out, -score), ("in", ~is_out, score)):
        caught, flagged = _curves(order, positive, weight)
        precision = caught / np.maximum(caught + flagged, 1)
        tpr, fpr = caught / caught[-1], flagged / flagged[-1]
        step = np.diff(tpr, axis=0, prepend=0)
        found[f"aupr_{name}"] = (step * precision).sum(axis=0)
        first = (tpr >= 0.95).argmax(axis=0)
        found[f"fpr95_{name}"] = np.take_along_axis(fpr, first[None], axis=0)[0]
        if name == "out":
            middle = (fpr + np.vstack([np.zeros_like(fpr[:1]), fpr[:-1]])) / 2
            found["auroc"] = 1 - (step * middle).sum(axis=0)
    return found


def _curves(order: Array, positive: NDArray[np.bool_], weight: Array) -> tuple[Array, Array]:
    """Weight of the positives and of the negatives among the first rows of ``order``.

    One line for each distinct value of ``order``, ascending.
    """
    rows = np.argsort(order, kind="stable")
    ordered = order[rows]
    starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf))
    sums = [
        np.add.reduceat(weight[rows] * side[rows, None], starts, axis=0).cumsum(axis=0)
        for side in (positive, ~positive)
    ]
    return sums[0], sums[1]
