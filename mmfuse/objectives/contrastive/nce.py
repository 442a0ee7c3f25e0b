"""info_nce: which of all rows is the partner, asked in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.objectives.contrastive.gather import Peers
from mmfuse.objectives.contrastive.partition import is_one_block, log_partition
from mmfuse.objectives.contrastive.targets import Partners, SimilarTargets, Targets, differ


def info_nce(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    *,
    valid: Tensor | None = None,
    group: Tensor | None = None,
    targets: Targets | None = None,
    directions: Sequence[float] = (1, 1),
    chunk: int | None = None,
) -> Tensor:
    """Symmetric InfoNCE: cross-entropy of finding each row's partner, in both directions.

    With S = s X Y' over the rows that take part, P the targets of the rows and Q those of the
    columns (the identity, unless ``targets`` says otherwise)::

        L = a / (a + b) mean_i sum_j -P_ij log softmax(S)_ij
          + b / (a + b) mean_j sum_i -Q_ji log softmax(S')_ji

    Memory grows linearly with the rows: scores are made a block at a time and made again in the
    backward pass. They are computed in float32 at least, whatever the autocast. Under
    ``torch.distributed`` the rows of all processes are each other's negatives; see ``Peers``.

    Args:
        x: one side's vectors, of unit length.
        y: their partners' vectors, of unit length.
        scale: s, one over the temperature.
        valid: rows that take part; the others drop out as rows and as negatives, whatever they
            hold.
        group: rows of different groups are not each other's negatives.
        targets: ``SparseTargets`` or ``SimilarTargets``; the partner alone by default.
        directions: weights a and b of finding y from x, and x from y.
        chunk: rows at a time; None takes as many as fill 16 MiB.

    Shape:
        x (B, D), y (B, D), valid (B,) bool, group (B,) long -> (); zero, with a zero gradient,
        for fewer than two rows

    Raises:
        DataError: x and y of unequal shape.
        ConfigError: weights of the directions that are below zero or both zero.

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
        2018, arXiv:1807.03748; both directions as Radford et al., ICML 2021, arXiv:2103.00020.

    Example:
        >>> x = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
        >>> loss = info_nce(x, x, 10.0, valid=torch.arange(8) < 6)
    """
    forth, back = shares(directions)
    x, y, group, targets = taking_part(x, y, valid, group, targets)
    peers = Peers(len(x), x.device)
    if peers.total < 2:  # nobody to tell the partner from
        return (x.sum() + y.sum() + torch.as_tensor(scale, dtype=x.dtype)) * 0.0
    with torch.autocast(x.device.type, enabled=False):
        if isinstance(targets, SimilarTargets) and peers.world == 1 and is_one_block(x, y, chunk):
            # One square serves scores and targets alike, and small ones fit as they are.
            cosines, others = x @ y.T, differ(group, group)
            scores = cosines * scale
            scores = scores if others is None else scores.masked_fill(others, -torch.inf)
            along_rows, along_columns = scores.logsumexp(dim=1), scores.logsumexp(dim=0)
            for_x, for_y = targets.ask_square(cosines, others)
        else:
            groups = None if group is None else (group, peers.gather(group))
            along_rows, partial = log_partition(x * scale, peers.gather(y), groups, chunk=chunk)
            along_columns = peers.logsumexp(partial)
            for_x, for_y = targets.ask(x, y, group, peers, chunk)
        rows = (for_x.mass * along_rows - scale * for_x.score).sum()
        columns = (for_y.mass * along_columns - scale * for_y.score).sum()
        return (forth * rows + back * columns) * (peers.world / peers.total)


def shares(directions: Sequence[float]) -> tuple[float, float]:
    """The two directions' weights, divided by their sum.

    Raises:
        ConfigError: not two numbers of 0 or more, or both zero.
    """
    if len(directions) != 2 or not min(directions) >= 0 or not 0 < sum(directions) < torch.inf:
        raise ConfigError(
            f"directions is {list(directions)}; expected two weights of 0 or more, one above 0."
        )
    forth, back = directions
    return forth / (forth + back), back / (forth + back)


def taking_part(
    x: Tensor,
    y: Tensor,
    valid: Tensor | None,
    group: Tensor | None,
    targets: Targets | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Targets]:
    """The rows that take part, in float32 at least, and what is asked of them.

    Raises:
        DataError: x and y of unequal shape.
    """
    if x.shape != y.shape or x.dim() != 2:
        raise DataError(
            f"Contrastive losses compare two (B, D) of one shape; found {tuple(x.shape)} and "
            f"{tuple(y.shape)}. Give both modalities' encoders one out_dim."
        )
    targets = targets or Partners()
    if valid is not None:
        index = valid.nonzero().squeeze(1)
        targets = targets.rows(index, len(x))
        x, y = x[index], y[index]
        group = None if group is None else group[index]
    precise = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(precise), y.to(precise), group, targets
