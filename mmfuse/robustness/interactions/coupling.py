"""Couplings of two modalities' rows that Sinkhorn's rounds make of an affinity."""

from __future__ import annotations

import math

from torch import Tensor

_ROUNDS, _CLOSE = 500, 0.01


def coupled_information(affinity: Tensor, log1: Tensor, log2: Tensor) -> Tensor:
    """I_q(X1, X2; Y) in nats of the coupling that Sinkhorn's rounds make of an affinity.

    Args:
        affinity: log A, ``(K, B, B)``.
        log1: log p(y | x1), ``(B, K)``.
        log2: log p(y | x2), ``(B, K)``; each class is brought to its share under ``log1``.

    Shape:
        -> ()
    """
    return coupled_shares(coupling(affinity, log1, log2)).sum() / len(log1)


def coupling(affinity: Tensor, log1: Tensor, log2: Tensor) -> Tensor:
    """Log of the coupling q that Sinkhorn's rounds make; arguments as ``coupled_information``.

    Shape:
        -> (K, B, B), which sums to one
    """
    size = len(log1)
    rows = log1.T - math.log(size)
    columns = log2.T - log2.T.logsumexp(1, keepdim=True) + rows.logsumexp(1, keepdim=True)
    log = affinity
    for _ in range(_ROUNDS):
        log = log - (log.logsumexp(1, keepdim=True) - columns[:, None])
        off = log.logsumexp(2) - rows
        log = log - off[..., None]
        if float(off.detach().abs().max()) < _CLOSE:
            break
    return log


def coupled_shares(log: Tensor) -> Tensor:
    """What each row of the first modality adds to I_q of a coupling, in nats.

    Args:
        log: of the coupling, ``(K, B, B)``.

    Shape:
        -> (B,), of which I_q is the mean
    """
    share = log.logsumexp((1, 2))[:, None, None]
    return (log.exp() * (log - log.logsumexp(0) - share)).sum((0, 2)) * log.shape[1]
