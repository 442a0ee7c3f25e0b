"""Classical models of survival: ridge Cox regression, and boosted hazards of time bins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from mmfuse.data.survival import fit_survival
from mmfuse.objectives.survival_loss import cox_loss
from mmfuse.spec import TargetSpec

Predict = Callable[[Any], np.ndarray]
#: From features, 0/1 labels and the number of classes to a function that gives their shares.
FitShares = Callable[[Any, np.ndarray, int], Predict]


def fit_cox(spec: TargetSpec, x: Any, y: np.ndarray, ridge: float = 1.0) -> Predict:
    """Cox regression with a ridge penalty, ties as Efron has them.

    ::

        min_w  -log partial likelihood(x w) + ridge/2 |w|^2

    No package with a licence like this one's that goes with today's pandas has it. The
    survival curve at the spec's cuts is Breslow's: with H(t) the sum over events up to t of
    1 / sum_{j at risk} exp r_j, S(t) = exp(-H(t) exp r).

    Args:
        spec: the survival target.
        x: ``(N, D)`` standardised features, dense or sparse.
        y: ``(N, 2)`` times and events, all known.
        ridge: the penalty, of the size of scikit-learn's ``Ridge`` and ``1 / C``.

    Returns:
        a function from features to the log hazard ratio and the curve, ``(N, 1 + cuts)``
    """
    outcome = torch.from_numpy(y.astype(np.float64))
    everyone = torch.ones(len(y), dtype=torch.bool)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        score = torch.from_numpy(np.asarray(x @ w)).requires_grad_()
        loss = cox_loss(score, outcome, everyone).sum()
        (slope,) = torch.autograd.grad(loss, score)
        return loss.item() + ridge / 2 * float(w @ w), x.T @ slope.numpy() + ridge * w

    found = minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    weights: np.ndarray = found.x
    baseline = _baseline_hazard(np.asarray(x @ weights), y, np.array(spec.cuts))

    def predict(rows: Any) -> np.ndarray:
        risk = np.asarray(rows @ weights)[:, None]
        return np.concatenate([risk, np.exp(-baseline * np.exp(risk))], axis=1)

    return predict


def _baseline_hazard(risk: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Breslow's cumulative baseline hazard at some times."""
    order = np.argsort(-y[:, 0], kind="stable")
    time, event = y[order].T
    at_risk = np.cumsum(np.exp(risk[order]))
    last = len(time) - np.searchsorted(time[::-1], time, side="left") - 1  # of equal times
    steps = (event == 1) / at_risk[last]
    return (steps[:, None] * (time[:, None] <= at)).sum(axis=0)


def boosted_hazards(spec: TargetSpec, x: Any, y: np.ndarray, fit: FitShares) -> Predict:
    """Hazards by a classifier over pairs of a row and a time bin that it lived to see.

    The bin's number is one more feature, and the label tells whether the event came in that
    bin. A censored row's last bin counts if it was seen through half of it.

    Args:
        spec: the survival target; under Cox's model, four bins are made for this one.
        x: ``(N, D)`` features.
        y: ``(N, 2)`` times and events, all known.
        fit: the classifier.

    Returns:
        a function from features to the risk and the curve, as ``TargetSpec.predict`` gives
        them

    Reference: Craig, Zhong and Tibshirani, "Survival stacking", 2021, arXiv:2107.13480; for
    the half bin Gensheimer and Narasimhan, "A scalable discrete-time survival model for neural
    networks", PeerJ 7, 2019.
    """
    cuts = np.array(spec.cuts or fit_survival("y", y, 4).cuts)
    time, event = y[:, 0], y[:, 1] == 1
    ends = np.concatenate([[0.0], cuts])
    place = np.searchsorted(cuts[:-1], time)
    is_seen = event | (time >= (ends[place] + ends[place + 1]) / 2)
    rows, bins = np.nonzero(np.arange(len(cuts)) < (place + is_seen)[:, None])
    label = (event[rows] & (bins == place[rows])).astype(np.int64)
    shares = fit(np.column_stack([x[rows], bins]), label, 2)

    def predict(new: Any) -> np.ndarray:
        number = len(new)
        every = np.column_stack(
            [np.repeat(new, len(cuts), axis=0), np.tile(np.arange(len(cuts)), number)]
        )
        curve = np.cumprod(1 - shares(every)[:, 1].reshape(number, len(cuts)), axis=1)
        risk = 1 - curve.mean(axis=1, keepdims=True)
        return np.concatenate([risk, curve[:, : len(spec.cuts)]], axis=1)

    return predict
