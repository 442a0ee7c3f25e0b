"""Metrics under row weights, for many predictions and many weightings at once.

A bootstrap resample is a weighting of the rows by how often each was drawn, so one matrix
product scores every resample of every condition. That is why these few formulas stand here
and are not calls to a metrics library, whose functions take one weighting at a time; the
tests hold them to scikit-learn's and torchmetrics' values.

Shapes: predictions (C, N, ...), labels (N, ...), weights (N, S) -> scores (C, S). A score
that the weighted rows leave undefined is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmfuse.robustness import selective
from mmfuse.survival import concordance, integrated_brier

Array = NDArray[np.float64]
Scores = dict[str, Array]

BINS = 15
# A class that a model rules out costs log 2^23, some 16 nats, not infinitely many.
_FLOOR = float(np.finfo(np.float32).eps)


def classes(probability: NDArray[np.float32], label: Array, weight: Array) -> Scores:
    """One class a row: ``probability`` (C, N, K), ``label`` (N,) class numbers."""
    count = probability.shape[2]
    chosen = probability.argmax(axis=2)
    hit = chosen == label
    total = weight.sum(axis=0)
    recalls, f1s, squares = [], [], np.zeros(hit.shape)
    for k in range(count):
        is_k = label == k
        true = hit[:, is_k] @ weight[is_k]
        labelled, called = is_k @ weight, (chosen == k) @ weight
        recalls.append(_ratio(true, labelled))
        f1s.append(_ratio(2 * true, labelled + called))
        squares += (probability[:, :, k] - is_k) ** 2
    ranked = [1] if count == 2 else range(count)
    confidence = probability.max(axis=2).astype(np.float64)
    aurc, e_aurc = selective.areas(confidence, ~hit, weight)
    true_class = probability[:, np.arange(len(label)), label.astype(np.int64)]
    return {
        "accuracy": _ratio(hit @ weight, total),
        "balanced_accuracy": _mean_defined(recalls),
        "macro_f1": _mean_defined(f1s),
        "auroc": _mean_defined(auroc(probability[:, :, k], label == k, weight) for k in ranked),
        "ece": calibration_error(confidence, hit, weight),
        "brier": _ratio((squares / 2 if count == 2 else squares) @ weight, total),
        "nll": _ratio(_surprise(true_class) @ weight, total),
        "aurc": aurc,
        "e_aurc": e_aurc,
    }


def several_labels(probability: NDArray[np.float32], label: Array, weight: Array) -> Scores:
    """Several labels a row: ``probability`` (C, N, L), ``label`` (N, L) of 0, 1 and NaN."""
    f1s, areas, errors, squares, surprises = [], [], [], [], []
    for k in range(label.shape[1]):
        known = np.isfinite(label[:, k])
        score, drawn = probability[:, known, k].astype(np.float64), weight[known]
        positive = label[known, k] == 1
        called = score > 0.5
        true = (called & positive) @ drawn
        f1s.append(_ratio(2 * true, positive @ drawn + called @ drawn))
        areas.append(auroc(score, positive, drawn))
        errors.append(calibration_error(score, positive, drawn))
        squares.append(_ratio((score - positive) ** 2 @ drawn, drawn.sum(axis=0)))
        said = _surprise(np.where(positive, score, 1 - score))
        surprises.append(_ratio(said @ drawn, drawn.sum(axis=0)))
    return {
        "macro_f1": _mean_defined(f1s),
        "auroc": _mean_defined(areas),
        "ece": _mean_defined(errors),
        "brier": _mean_defined(squares),
        "nll": _mean_defined(surprises),
    }


def values(predicted: NDArray[np.float32], label: Array, weight: Array) -> Scores:
    """Regression: ``predicted`` (C, N, W), ``label`` (N, W) with NaN for unknown."""
    absolutes, squares, r2s = [], [], []
    for k in range(label.shape[1]):
        known = np.isfinite(label[:, k])
        wanted, drawn = label[known, k], weight[known]
        error, total = predicted[:, known, k] - wanted, drawn.sum(axis=0)
        square = error**2 @ drawn
        absolutes.append(_ratio(np.abs(error) @ drawn, total))
        squares.append(_ratio(square, total))
        r2s.append(1 - _ratio(square, _spread(wanted, drawn, total)))
    return {
        "mae": _mean_defined(absolutes),
        "rmse": np.sqrt(_mean_defined(squares)),
        "r2": _mean_defined(r2s),
    }


def survival(
    predicted: NDArray[np.float32], label: Array, weight: Array, cuts: Sequence[float]
) -> Scores:
    """Survival: ``predicted`` (C, N, 1 + cuts) risk and curve, ``label`` (N, 2) time and event.

    The curve is scored at the cuts between bins; the last only ends the last bin.
    """
    time, event = label[:, 0], label[:, 1] == 1
    risk = predicted[:, :, 0]
    found = {
        "c_index": concordance(risk, time, event, weight),
        "c_index_ipcw": concordance(risk, time, event, weight, is_ipcw=True),
    }
    if cuts:
        at = np.array(cuts[:-1] or cuts)
        curve = predicted[:, :, 1 : 1 + len(at)]
        found["ibs"] = integrated_brier(curve, at, time, event, weight)
    return found


def _spread(label: Array, weight: Array, total: Array) -> Array:
    """Sum of squares around the weighted mean, exactly zero where every drawn label is equal."""
    if not len(label):
        return total
    centred = label - label.mean()
    spread = centred**2 @ weight - _ratio((centred @ weight) ** 2, total)
    # Rounding leaves a constant label a tiny spread.
    spread[spread <= 1e-12 * (centred**2 @ weight) + 1e-28 * label.mean() ** 2 * total] = 0
    return spread


def auroc(score: NDArray[np.floating], positive: NDArray[np.bool_], weight: Array) -> Array:
    """Area under the ROC curve: ``score`` (C, N), ``positive`` (N,), ties count one half.

    With V(i) the share of the other side's rows that row i is ranked rightly against, the
    area A is the mean of V over the positives, and over the negatives. Other than equal
    weights enter to first order::

        A(w) = mean_w V over positives + mean_w V over negatives - A

    which leaves out a term of order 1/N and makes every resample one matrix product.

    Reference: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more
    correlated receiver operating characteristic curves", Biometrics 44, 1988.
    """
    if positive.all() or not positive.any():
        return np.full((len(score), weight.shape[1]), np.nan)
    right = np.empty(score.shape)
    for line, row in zip(right, score, strict=True):
        line[positive] = _share_below(row[positive], row[~positive])
        line[~positive] = 1 - _share_below(row[~positive], row[positive])
    area = right[:, positive].mean(axis=1, keepdims=True)
    parts = [_ratio(right[:, s] @ weight[s], weight[s].sum(axis=0)) for s in (positive, ~positive)]
    return np.clip(parts[0] + parts[1] - area, 0, 1)


def _share_below(score: NDArray[np.floating], others: NDArray[np.floating]) -> Array:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")
    return below / (2 * len(others))


def calibration_error(
    confidence: NDArray[np.floating], hit: NDArray[np.bool_], weight: Array
) -> Array:
    """Expected calibration error over 15 bins of equal width: (C, N), (C, N) or (N,).

    Reference: Guo et al., "On calibration of modern neural networks", ICML 2017,
    arXiv:1706.04599.
    """
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gap = hit - confidence
    found = sum(np.abs(np.where(bins == b, gap, 0) @ weight) for b in np.unique(bins))
    return _ratio(np.asarray(found), weight.sum(axis=0))


def _surprise(probability: NDArray[np.floating]) -> Array:
    """Negative log-likelihood in nats."""
    return np.asarray(-np.log(np.maximum(probability.astype(np.float64), _FLOOR)))


def _ratio(above: Array, below: Array) -> Array:
    """Quotient, NaN where the divisor is zero."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _mean_defined(parts: Iterable[Array]) -> Array:
    """Mean over classes, labels or outputs of what is defined; NaN where nothing is."""
    stack = np.stack(list(parts))
    defined = ~np.isnan(stack)
    return _ratio(np.where(defined, stack, 0).sum(axis=0), defined.sum(axis=0))
