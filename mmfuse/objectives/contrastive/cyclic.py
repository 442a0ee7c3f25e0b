"""cyclic_consistency: two sides whose cosines agree, without the square matrix of them."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.objectives.contrastive.gather import Peers
from mmfuse.objectives.contrastive.nce import taking_part


def cyclic_consistency(
    x: Tensor, y: Tensor, *, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """How far two sides' cosines disagree, within the sides and across (CyCLIP)::

        within = 1/n sum_jk (x_j . x_k - y_j . y_k)^2
        across = 1/n sum_jk (x_j . y_k - x_k . y_j)^2

    With P = X - Y, M = X + Y and K = M'P, both are made of three products of D x D, since
    P M' + M P' = 2 (X X' - Y Y') and P M' - M P' = 2 (X Y' - Y X')::

        within = (<P'P, M'M> + <K, K'>) / 2n,   across = (<P'P, M'M> - <K, K'>) / 2n

    so that time and memory grow linearly with the rows, and nothing cancels when X nears Y.

    Args:
        x: one side's vectors, of unit length.
        y: their partners' vectors, of unit length.
        valid: rows that take part; the others drop out.

    Shape:
        x (B, D), y (B, D), valid (B,) bool -> (), ()

    Raises:
        DataError: x and y of unequal shape.

    Reference: Goel et al., "CyCLIP: Cyclic Contrastive Language-Image Pretraining", NeurIPS
        2022, arXiv:2205.14459, section 3.
    """
    x, y, _, _ = taking_part(x, y, valid, None)
    peers = Peers(len(x), x.device)
    x, y = peers.gather(x), peers.gather(y)
    with torch.autocast(x.device.type, enabled=False):
        minus, plus = x - y, x + y
        crossed = plus.T @ minus
        same = ((minus.T @ minus) * (plus.T @ plus)).sum()
        turned = (crossed * crossed.T).sum()
        rows = 2 * max(peers.total, 1)
        return (same + turned) / rows, (same - turned) / rows
