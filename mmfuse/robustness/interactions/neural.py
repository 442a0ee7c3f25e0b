"""The decomposition of continuous modalities with classifiers and a learned alignment."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.interactions.coupling import coupled_information, coupled_shares, coupling
from mmfuse.robustness.interactions.exact import PID
from mmfuse.robustness.interactions.information import Table
from mmfuse.robustness.metrics import affordable, resamples

_WIDTH, _ALIGNED = 32, 10
_FIT, _CHOOSE = 0.6, 0.2  # shares of the rows; the rest is what the parts are read on
_FEWEST = 4  # rows of each use

#: x1 ``(N, D1)``, x2 ``(N, D2)`` and the class y ``(N,)`` of the same rows.
Rows = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class NeuralSettings:
    """How ``neural_pid`` trains.

    Args:
        epochs: of the classifiers; the one with the lowest loss on rows of their own is kept.
        align_epochs: of the alignment.
        batch_size: rows a step, and rows that a coupling is between.
        rate: Adam's.
        device: where to compute.
    """

    epochs: int = 40
    align_epochs: int = 10
    batch_size: int = 256
    rate: float = 1e-3
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class NeuralPID:
    """A decomposition of rows through networks that were fitted to other rows.

    Args:
        pid: of the rows, with a ``gap`` of NaN: nothing bounds it.
        low: lower ends of the 95 % intervals of R, U1, U2 and S over resampled rows, with the
            networks as they are; NaN without bootstrap.
        high: upper ends.
        rows: ``(N, 4)`` what each row adds to R, U1, U2 and S; their means are the parts.
    """

    pid: PID
    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: Table


def neural_pid(
    x1: Tensor, x2: Tensor, y: Tensor, settings: NeuralSettings | None = None, seed: int = 0
) -> PID:
    """Redundancy, unique parts and synergy of continuous modalities, in bits.

    ``held_out_pid`` of one set of rows: networks are fitted to 60 % of them, chosen by 20 %, and
    read on the last 20 %.

    Args:
        x1: ``(N, D1)`` float.
        x2: ``(N, D2)`` float.
        y: ``(N,)`` classes 0..K-1.
        settings: of the training.
        seed: of the split, the weights and the batches.

    Returns:
        With a ``gap`` of NaN: nothing bounds it.

    Raises:
        DataError: shapes that differ, NaN, or fewer than 20 rows.
        ConfigError: settings below 1.
    """
    _check((x1, x2, y), "", 20)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    fit, choose = int(_FIT * len(y)), int((_FIT + _CHOOSE) * len(y))
    known, chosen, read = (
        (x1[rows], x2[rows], y[rows]) for rows in (order[:fit], order[fit:choose], order[choose:])
    )
    return held_out_pid(known, chosen, read, settings, bootstrap=0, seed=seed).pid


def held_out_pid(
    fit: Rows,
    choose: Rows,
    read: Rows,
    settings: NeuralSettings | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> NeuralPID:
    """The decomposition of some rows through networks that never saw them.

    Three classifiers give p(y | x1), p(y | x2) and p(y | x1, x2). Two networks align the
    modalities: for rows i, j of a batch and class y they give
    ``A_y[i, j] = exp(e1_y(x1_i) . e2_y(x2_j) / sqrt(10))``, which Sinkhorn's rounds scale to a
    coupling q with the margins p(y | x1_i) and p(y | x2_j); they are trained to make
    I_q(X1, X2; Y) small. The parts are those of ``pid``, each at least zero::

        I(X; Y) = mean_i log2 p(y_i | x_i) / p(y_i)     over the rows read, by their own labels

    so that a classifier too sure of itself is found to know less, not more.

    An estimate: it depends on the batch size and on how well the networks are trained, and
    its coupling is not proven least. Where a few dozen clusters do, prefer ``discretised_pid``.

    A row's own share of I_q is ``log2 q(y | x1, x2) / p(y)``, which is additive in what two
    margins tell only where q is least; so each row's shares are moved by one number, the same
    for all, to have the parts as their means.

    Args:
        fit: what classifiers and alignment are fitted to.
        choose: what chooses each classifier's epoch and its temperature.
        read: what is decomposed.
        settings: of the training.
        bootstrap: resamples of the rows read; 0 for no interval.
        seed: of the weights, the batches and the resamples.

    Raises:
        DataError: shapes that differ, NaN, or fewer than four rows of each.
        ConfigError: settings below 1.

    Reference: Liang et al., "Quantifying & modeling multimodal interactions", NeurIPS 2023,
    arXiv:2302.12247, estimator BATCH. Departs from the authors' code: bits, rows held out and
    read by their labels, temperatures, logarithms that cannot overflow, any device, all batches
    used. Rows are moved to their means as LSMI does, which estimates densities instead.
    """
    settings = settings or NeuralSettings()
    for rows, name in ((fit, "fit"), (choose, "choose"), (read, "read")):
        _check(rows, f" to {name}", _FEWEST)
        if [x.shape[1:] for x in rows] != [x.shape[1:] for x in fit]:
            raise DataError(f"Rows to {name} have other widths than rows to fit. Give the same.")
    if min(settings.epochs, settings.align_epochs, settings.batch_size) < 1:
        raise ConfigError(f"{settings} has a number below 1.")
    device = settings.device
    known, chosen, told = torch.arange(sum(len(part[2]) for part in (fit, choose, read))).split(
        [len(part[2]) for part in (fit, choose, read)]
    )
    x1, x2, y = (torch.cat(parts) for parts in zip(fit, choose, read, strict=True))
    classes = int(y.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        one, two = ((x - x[known].mean(0)) / _spread(x[known]) for x in (x1.float(), x2.float()))
        one, two, label = one.to(device), two.to(device), y.to(device)
        views = (one, two, torch.cat([one, two], dim=1))
        models = [_classifier(v, label, known, chosen, classes, settings) for v in views]
        logs = [model(view).detach() for model, view in zip(models, views, strict=True)]
        pair = _Alignment(one.shape[1], two.shape[1], classes).to(device)
        optimizer = torch.optim.Adam(pair.parameters(), settings.rate)
        for _ in range(settings.align_epochs):
            for rows in known[torch.randperm(len(known))].split(settings.batch_size):
                if len(rows) < 2:
                    continue
                loss = coupled_information(pair(one[rows], two[rows]), logs[0][rows], logs[1][rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        # Rows next to each other may be alike, and a coupling is between those of a batch.
        order = torch.randperm(len(told))
        shares = _shares(pair, one, two, logs, label, told[order], settings.batch_size)
    return _read(shares[:, order.argsort()], bootstrap, seed)


class _Alignment(nn.Module):
    """Log affinities of every two rows, one table a class."""

    def __init__(self, width1: int, width2: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.first, self.second = (_mlp(w, classes * _ALIGNED) for w in (width1, width2))

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``(B, D1), (B, D2) -> (K, B, B)``."""
        found = []
        for net, x in ((self.first, x1), (self.second, x2)):
            each = net(x).view(len(x), self.classes, _ALIGNED).transpose(0, 1)
            found.append((each - each.mean(1, keepdim=True)) / (_spread(each, 1) + 1e-6))
        return found[0] @ found[1].transpose(1, 2) / math.sqrt(_ALIGNED)


def _mlp(width: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(width, _WIDTH), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Linear(_WIDTH, _WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(_WIDTH, out))


class _Tempered(nn.Module):
    """Log-probabilities of a classifier, its scores times ``scale``."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * self.model(x)).log_softmax(1)


def _classifier(
    x: Tensor, y: Tensor, known: Tensor, chosen: Tensor, classes: int, settings: NeuralSettings
) -> _Tempered:
    model = _mlp(x.shape[1], classes).to(x.device)
    optimizer = torch.optim.Adam(model.parameters(), settings.rate)
    best, kept = math.inf, copy.deepcopy(model)
    for _ in range(settings.epochs):
        for rows in known[torch.randperm(len(known))].split(settings.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = float(F.cross_entropy(model(x[chosen]), y[chosen]))
        if loss < best:
            best, kept = loss, copy.deepcopy(model)
    with torch.no_grad():
        scores = kept(x[chosen])
        scales = torch.logspace(-2, 1, 61).tolist()
        losses = [float(F.cross_entropy(s * scores, y[chosen])) for s in scales]
    return _Tempered(kept, scales[losses.index(min(losses))])


def _shares(
    pair: _Alignment,
    x1: Tensor,
    x2: Tensor,
    logs: list[Tensor],
    y: Tensor,
    read: Tensor,
    size: int,
) -> Table:
    """``(5, n)`` bits of each row: of either modality, of both, of the coupling twice.

    The coupling's mean is that of the fourth line; the fifth is what it says of a row's own label.
    """
    prior = (torch.bincount(y[read]).double() / len(read)).log()
    own = torch.stack([log[read].gather(1, y[read, None])[:, 0] for log in logs]).double()
    mean, told = [], []
    with torch.no_grad():
        # Each batch has at least half of the size.
        for rows in read.tensor_split(max(round(len(read) / size), 1)):
            log = coupling(pair(x1[rows], x2[rows]), logs[0][rows], logs[1][rows])
            mean.append(coupled_shares(log))
            met = log.diagonal(dim1=1, dim2=2).log_softmax(0)  # q(y | x1_i, x2_i)
            told.append(met.gather(0, y[rows][None])[0])
    surprise = prior[y[read]]
    joined = torch.cat([own - surprise, torch.cat(mean)[None], torch.cat(told)[None] - surprise])
    return np.asarray((joined / math.log(2)).cpu().numpy(), dtype=np.float64)


def _read(shares: Table, bootstrap: int, seed: int) -> NeuralPID:
    """Parts, intervals and rows from what each row says."""
    count = shares.shape[1]
    weight = resamples(count, affordable(count, bootstrap), seed) / count
    i1, i2, both, shared = np.maximum(shares[:4] @ weight, 0.0)
    # What holds for the least informative coupling is made to hold for an estimate of it.
    both = np.maximum(both, np.maximum(i1, i2))
    shared = np.clip(shared, np.maximum(i1, i2), np.minimum(both, i1 + i2))
    parts = np.stack([i1 + i2 - shared, shared - i2, shared - i1, both - shared])
    nothing = (math.nan,) * 4
    low, high = nothing, nothing
    if parts.shape[1] > 1:
        low, high = (tuple(e) for e in np.quantile(parts[:, 1:], [0.025, 0.975], axis=1).tolist())
    one, two, joint, _, met = shares
    rows = np.stack([one + two - met, met - two, met - one, joint - met], axis=1)
    first = parts[:, 0]
    r, u1, u2, s = first.tolist()
    return NeuralPID(PID(r, u1, u2, s, math.nan), low, high, rows - rows.mean(0) + first)


def _spread(x: Tensor, dim: int = 0) -> Tensor:
    found = x.std(dim, keepdim=True, correction=0)
    return torch.where(found > 0, found, 1.0)


def _check(rows: Rows, use: str, fewest: int) -> None:
    x1, x2, y = rows
    shapes = [tuple(t.shape) for t in rows]
    fit = x1.dim() == x2.dim() == 2 and shapes[2] == (len(x1),) and len(x2) == len(y) >= fewest
    if not fit or not (x1.isfinite().all() and x2.isfinite().all()) or y.is_floating_point():
        raise DataError(
            f"Found x1, x2 and y{use} of shapes {shapes}; expected (N, D1), (N, D2) and (N,) with "
            f"at least {fewest} rows, no NaN, and whole numbers for classes."
        )
    if int(y.min()) < 0:
        raise DataError("A label is below 0, which is none. Leave rows without a label out.")
