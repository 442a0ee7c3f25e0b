"""multi_positive: several rows may be the right answer, as with class labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.contrastive.gather import Peers
from mmfuse.objectives.contrastive.nce import shares, taking_part
from mmfuse.objectives.contrastive.partition import log_partition


def multi_positive(
    x: Tensor,
    y: Tensor | None,
    scale: Tensor | float,
    *,
    labels: Tensor | None = None,
    positives: Tensor | None = None,
    valid: Tensor | None = None,
    directions: Sequence[float] = (1, 1),
    chunk: int | None = None,
) -> Tensor:
    """Contrastive loss with several positives a row (SupCon, and UniCL between two sides).

    With P(i) the positives of row i and S = s X Y'::

        L_i = -1/|P(i)| sum_{p in P(i)} log softmax(S)_ip

    averaged over the rows that have a positive. Between two sides both directions count, as in
    ``info_nce``. Where ``y`` is None, the rows of x are compared with each other, a row never
    with itself.

    Args:
        x: one side's vectors, of unit length.
        y: the other side's, row i being the partner of row i; or None.
        scale: s, one over the temperature.
        labels: rows of one label are positives of each other; a negative label is a class of
            its own, so that the row's only positive is its partner.
        positives: says which column is a positive of which row, in place of labels. It is
            square, and so is the memory it needs; the rows of other processes stay out.
        valid: rows that take part; the others drop out.
        directions: weights of finding y from x, and x from y.
        chunk: rows at a time; None takes as many as fill 16 MiB.

    Shape:
        x (B, D), y (B, D), labels (B,) long, positives (B, B) bool -> (); zero where no row has
        a positive or no negative is

    Raises:
        ConfigError: both or neither of ``labels`` and ``positives``.
        DataError: x and y of unequal shape.

    Reference: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362,
        equation 2; between two sides, Yang et al., "Unified Contrastive Learning in
        Image-Text-Label Space", CVPR 2022, arXiv:2204.03610.
    """
    if (labels is None) == (positives is None):
        raise ConfigError("multi_positive takes either labels or positives.")
    forth, back = shares(directions)
    alone = y is None
    x, y, labels, _ = taking_part(x, x if y is None else y, valid, labels)
    with torch.autocast(x.device.type, enabled=False):
        if labels is not None:
            peers = Peers(len(x), x.device)
            answers = _OfLabels(labels, peers, alone)
            for_x, for_y = answers.mean(y), answers.mean(x)
            has_row = has_column = answers.count > 0
        else:
            assert positives is not None
            peers = Peers.alone(len(x))
            wanted = positives if valid is None else positives[valid][:, valid]
            if alone:
                wanted = wanted & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
            for_x, for_y = _mean_of(wanted, y), _mean_of(wanted.T, x)
            has_row, has_column = wanted.any(dim=1), wanted.any(dim=0)
        itself = peers.mine.start if alone else None
        along_rows, partial = log_partition(x * scale, peers.gather(y), None, itself, chunk)
        along_columns = peers.logsumexp(partial)
        rows = _mean(along_rows - scale * (x * for_x).sum(dim=1), has_row, peers)
        columns = _mean(along_columns - scale * (y * for_y).sum(dim=1), has_column, peers)
        return rows if alone else forth * rows + back * columns


def _mean(losses: Tensor, counts: Tensor, peers: Peers) -> Tensor:
    total = peers.gather(counts.long()).sum().clamp(min=1)
    return losses.masked_fill(~counts, 0).sum() * (peers.world / total)


def _mean_of(wanted: Tensor, values: Tensor) -> Tensor:
    share = wanted.to(values.dtype)
    return share @ values / share.sum(dim=1, keepdim=True).clamp(min=1)


class _OfLabels:
    """The rows of one label, over all processes, by sums of each label's rows."""

    def __init__(self, labels: Tensor, peers: Peers, alone: bool) -> None:
        every = peers.gather(labels)
        own = -1 - torch.arange(len(every), device=labels.device)
        _, self._class = torch.where(every < 0, own, every).unique(return_inverse=True)
        self._peers, self._alone = peers, alone
        self._mine = self._class[peers.mine]
        self.count = self._class.bincount()[self._mine] - int(alone)

    def mean(self, values: Tensor) -> Tensor:
        """For each row of this process the mean of its positives among ``values``."""
        every = self._peers.gather(values)
        # At most one label a row: no wait for the device to tell how many there are.
        sums = every.new_zeros(len(every), every.shape[1]).index_add(0, self._class, every)
        found = sums[self._mine] - values if self._alone else sums[self._mine]
        return found / self.count.clamp(min=1).unsqueeze(1)
