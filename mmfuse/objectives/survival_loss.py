"""The survival losses, row by row: discrete hazards, and Cox's partial likelihood."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hazard_loss(logits: Tensor, target: Tensor, cuts: Tensor) -> Tensor:
    """Negative log-likelihood of discrete hazards.

    With bins that end at ``cuts``, hazards h = sigmoid(logits) and y the bin that holds the
    row's time::

        event:     -log h_y - sum_{u < y} log(1 - h_u)
        censored:  -f log(1 - h_y) - sum_{u < y} log(1 - h_u)

    where f is the share of bin y that the row was seen to pass. Times after the last cut
    count as the last bin's end.

    Args:
        logits: ``(..., bins)``.
        target: ``(..., 2)`` times and events (1 for an event, 0 for a censored row), finite.
        cuts: ``(bins,)`` where each bin ends, ascending.

    Shape:
        logits (..., bins), target (..., 2) -> losses (...)

    Reference: Zadeh and Schmid, "Bias in cross-entropy-based training of deep survival
    networks", TPAMI 43(9), 2020; as used by Xu et al., "DisPro", CVPR 2025,
    arXiv:2503.01653.

    Departs from the papers: there a censored row counts as having passed the whole of its
    last bin (f = 1), which makes survival look longer the wider the bins are.
    """
    time, event = target[..., 0].contiguous(), target[..., 1]
    place = torch.bucketize(time, cuts[:-1])  # bins hold their right end
    starts = torch.cat([cuts.new_zeros(1), cuts[:-1]])
    passed = ((time - starts[place]) / (cuts - starts)[place]).clamp(0, 1)
    bins = torch.arange(len(cuts), device=logits.device)
    here = bins == place.unsqueeze(-1)
    is_event = event.unsqueeze(-1) == 1
    share = torch.where(here, torch.where(is_event, 0.0, passed.unsqueeze(-1)), 1.0)
    share = share.to(logits.dtype) * (bins <= place.unsqueeze(-1))
    stay, fall = F.logsigmoid(-logits), F.logsigmoid(logits)
    return -(share * stay + (here & is_event) * fall).sum(dim=-1)


def cox_loss(score: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Each event's term of Cox's negative log partial likelihood, ties as Efron has them.

    For an event of row i with score r::

        -r_i + log( sum_{j: t_j >= t_i} exp r_j  -  l_i / d_i  sum_{j in D_i} exp r_j )

    where D_i are the d_i rows with an event at that very time and l_i = 0, 1, ... d_i - 1
    numbers them. Where a score has several columns each is a model of its own.

    Args:
        score: ``(B,)`` or ``(B, S)`` log hazard ratios.
        target: ``(B, 2)`` or ``(B, S, 2)``, the same for every column of a row, times and
            events; finite where ``counted``.
        counted: bool in the shape of ``score``; other rows are in no risk set.

    Shape:
        score (B, ...), target (B, ..., 2), counted (B, ...) -> losses (B, ...), zero where
        there is no event

    Reference: Cox, "Regression models and life-tables", J. R. Statist. Soc. B 34, 1972;
    Efron, "The efficiency of Cox's likelihood function for censored data", J. Am. Stat.
    Assoc. 72, 1977.
    """
    if score.dim() == 1:
        return cox_loss(score[:, None], target[:, None], counted[:, None])[:, 0]
    # A row that any column counts has a time; others may hold anything.
    time = target[..., 0].masked_fill(~counted, -torch.inf).amax(dim=1)
    order = time.argsort(descending=True, stable=True)
    is_later = torch.cat([order.new_zeros(1), (time[order].diff() != 0).long()])
    group = is_later.cumsum(0)  # of equal times
    size = torch.zeros_like(group).scatter_add(0, group, torch.ones_like(group))
    last = size.cumsum(0)[group] - 1
    kept, r = counted[order], score[order]
    dead = kept & (target[order][..., 1] == 1)
    # Finite, so that a risk set of nobody leaves a finite gradient.
    nobody = torch.finfo(r.dtype).min / 4
    at_risk = r.masked_fill(~kept, nobody).logcumsumexp(dim=0)[last]
    start = last - size[group] + 1
    deaths = dead.to(r.dtype).cumsum(dim=0)
    before = (deaths - dead.to(r.dtype))[start]  # deaths at later times
    number = (deaths - 1 - before).clamp(min=0)
    count = (deaths[last] - before).clamp(min=1)
    dying = _grouped_logsumexp(r.masked_fill(~dead, nobody), group)
    share = torch.where(number > 0, number / count * (dying - at_risk).clamp(max=0).exp(), 0)
    term = (at_risk + torch.log1p(-share) - r).masked_fill(~dead, 0)
    return torch.empty_like(term).index_copy(0, order, term)


def _grouped_logsumexp(r: Tensor, group: Tensor) -> Tensor:
    """The log of the sum of exponentials of each row's group, ``(B, S)``."""
    index = group.unsqueeze(1).expand_as(r)
    rows = r.new_zeros(r.shape)
    top = rows.scatter_reduce(0, index, r.detach(), "amax", include_self=False).gather(0, index)
    return (rows.scatter_add(0, index, (r - top).exp()).gather(0, index)).log() + top
