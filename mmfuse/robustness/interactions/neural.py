"""The decomposition of continuous modalities with classifiers and a learned alignment."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.interactions.exact import PID

_WIDTH, _ALIGNED = 32, 10
_FIT, _CHOOSE = 0.6, 0.2  # shares of the rows; the rest is what the parts are read on
_ROUNDS, _CLOSE = 500, 0.01


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


def neural_pid(
    x1: Tensor, x2: Tensor, y: Tensor, settings: NeuralSettings | None = None, seed: int = 0
) -> PID:
    """Redundancy, unique parts and synergy of continuous modalities, in bits.

    Three classifiers give p(y | x1), p(y | x2) and p(y | x1, x2): fitted on 60 % of the rows,
    their epoch and a temperature chosen on 20 %, so that over-confidence does not pass for
    information, and read on the last 20 %. Two networks align the modalities: for rows i, j of
    a batch and class y they give ``A_y[i, j] = exp(e1_y(x1_i) . e2_y(x2_j) / sqrt(10))``, which
    Sinkhorn's rounds scale to a coupling q with the margins p(y | x1_i) and p(y | x2_j); they are
    trained to make I_q(X1, X2; Y) small. The parts are those of ``pid``, each at least zero.

    An estimate: it depends on the batch size and on how well the classifiers are trained, and
    its coupling is not proven least. Where a few dozen clusters do, prefer ``discretised_pid``.

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

    Reference: Liang et al., "Quantifying & modeling multimodal interactions", NeurIPS 2023,
    arXiv:2302.12247, estimator BATCH. Departs from the authors' code: bits, rows held out,
    temperatures, logarithms that cannot overflow, any device, all batches used.
    """
    settings = settings or NeuralSettings()
    _check(x1, x2, y, settings)
    device = settings.device
    classes = int(y.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(len(y))
        fit, choose = int(_FIT * len(y)), int((_FIT + _CHOOSE) * len(y))
        known, chosen, read = (order[a:b] for a, b in ((0, fit), (fit, choose), (choose, len(y))))
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
                loss = _coupled(pair, one, two, logs, rows)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return _read(pair, one, two, logs, read, settings.batch_size)


def coupled_information(affinity: Tensor, log1: Tensor, log2: Tensor) -> Tensor:
    """I_q(X1, X2; Y) in nats of the coupling that Sinkhorn's rounds make of an affinity.

    Args:
        affinity: log A, ``(K, B, B)``.
        log1: log p(y | x1), ``(B, K)``.
        log2: log p(y | x2), ``(B, K)``; each class is brought to its share under ``log1``.

    Shape:
        -> ()
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
    share = rows.logsumexp(1)[:, None, None]
    return (log.exp() * (log - log.logsumexp(0) - share)).sum()


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


def _coupled(pair: _Alignment, x1: Tensor, x2: Tensor, logs: list[Tensor], rows: Tensor) -> Tensor:
    return coupled_information(pair(x1[rows], x2[rows]), logs[0][rows], logs[1][rows])


def _read(
    pair: _Alignment, x1: Tensor, x2: Tensor, logs: list[Tensor], read: Tensor, size: int
) -> PID:
    """The parts, averaged over batches of the rows held out, each with at least half a batch."""
    parts = read.tensor_split(max(round(len(read) / size), 1))
    shared = 0.0
    informations = torch.zeros(3)
    with torch.no_grad():
        for rows in parts:
            weight = len(rows) / len(read)
            shared += weight * float(_coupled(pair, x1, x2, logs, rows))
            each = torch.stack([_information(log[rows]) for log in logs])
            informations += weight * each.cpu()
    i1, i2, both = (max(i, 0.0) for i in (informations / math.log(2)).tolist())
    # What holds for the least informative coupling is made to hold for an estimate of it.
    shared = min(max(shared / math.log(2), i1, i2), i1 + i2)
    return PID(i1 + i2 - shared, shared - i2, shared - i1, max(both - shared, 0.0), math.nan)


def _information(log: Tensor) -> Tensor:
    """I(X; Y) in nats of rows with log p(y | x), ``(B, K)``."""
    share = log.logsumexp(0) - math.log(len(log))
    return (log.exp() * (log - share)).sum() / len(log)


def _spread(x: Tensor, dim: int = 0) -> Tensor:
    found = x.std(dim, keepdim=True, correction=0)
    return torch.where(found > 0, found, 1.0)


def _check(x1: Tensor, x2: Tensor, y: Tensor, settings: NeuralSettings) -> None:
    shapes = [tuple(t.shape) for t in (x1, x2, y)]
    fit = x1.dim() == x2.dim() == 2 and shapes[2] == (len(x1),) and len(x2) == len(y) >= 20
    if not fit or not (x1.isfinite().all() and x2.isfinite().all()) or y.is_floating_point():
        raise DataError(
            f"Found x1, x2 and y of shapes {shapes}; expected (N, D1), (N, D2) and (N,) with at "
            "least 20 rows, no NaN, and whole numbers for classes."
        )
    if int(y.min()) < 0:
        raise DataError("A label is below 0, which is none. Leave rows without a label out.")
    if min(settings.epochs, settings.align_epochs, settings.batch_size) < 1:
        raise ConfigError(f"{settings} has a number below 1.")
