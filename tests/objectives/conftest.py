"""A small model in float64, rows with gaps, and the losses as their equations say them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch
from torch import Tensor

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion, Fusion
from mmfuse_encoders import MLPEncoder

WIDTHS = {"a": 3, "b": 2, "c": 4}
TARGETS = {
    "kind": TargetSpec("multiclass", ("x", "y", "z"), weights=(0.5, 1.0, 3.0)),
    "ill": TargetSpec("binary", ("no", "yes"), weights=(1.0, 4.0)),
    "tags": TargetSpec("multilabel", ("p", "q"), weights=(2.0, 0.5)),
    "size": TargetSpec("regression", width=2, mean=(10.0, -3.0), std=(2.0, 0.5)),
}
ROWS = 12


@pytest.fixture
def make_model() -> Callable[..., FusionModel]:
    """Builds a model in float64 whose prior is not zero."""

    def make(
        fusion: type[Fusion] = ConcatFusion, targets: tuple[str, ...] = tuple(TARGETS)
    ) -> FusionModel:
        torch.manual_seed(0)
        spec = DataSpec(
            {m: ModalitySpec.of(d) for m, d in WIDTHS.items()}, {t: TARGETS[t] for t in targets}
        )
        encoders = {m: MLPEncoder(d, out_dim=5) for m, d in WIDTHS.items()}
        model = FusionModel(spec, encoders, fusion(dict.fromkeys(WIDTHS, 5), out_dim=6))
        torch.nn.init.normal_(model.fusion.prior)
        return model.double().eval()

    return make


@pytest.fixture
def batch() -> Batch:
    """Rows of every pattern; two rows without a label, others with some unknown."""
    draw = torch.Generator().manual_seed(1)
    present = torch.rand(ROWS, 3, generator=draw) < 0.6
    present[0] = False
    kind = torch.randint(0, 3, (ROWS,), generator=draw)
    ill = torch.randint(0, 2, (ROWS,), generator=draw)
    tags = torch.randint(0, 2, (ROWS, 2), generator=draw).double()
    size = torch.randn(ROWS, 2, generator=draw, dtype=torch.float64) * 3 + 10
    kind[[1, 4]] = ill[[4, 5, 6]] = -1
    tags[2, 0] = tags[7, 1] = size[3, 1] = torch.nan
    tags[4] = size[4] = torch.nan
    inputs = {
        m: torch.randn(ROWS, d, generator=draw, dtype=torch.float64) for m, d in WIDTHS.items()
    }
    target = {"kind": kind, "ill": ill, "tags": tags, "size": size}
    return Batch(tuple(WIDTHS), inputs, present, target)


@pytest.fixture
def mean_loss() -> Callable[[TargetSpec, Iterable[tuple[Tensor, Tensor]]], float]:
    """sum w l / sum w over pairs of scores and label, one row at a time, in plain Python."""

    def mean(spec: TargetSpec, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
        rows = [_row_loss(spec, z.tolist(), y.tolist()) for z, y in pairs]
        total = sum(weight for _, weight in rows)
        return sum(loss * weight for loss, weight in rows) / total if total else 0.0

    return mean


def _row_loss(
    spec: TargetSpec, logits: Sequence[float], target: float | Sequence[float]
) -> tuple[float, float]:
    """The loss of one row and the weight with which it counts; weight 0 without a label."""
    if spec.kind == "multiclass":
        if target < 0:
            return 0.0, 0.0
        loss = math.log(sum(math.exp(z) for z in logits)) - logits[int(target)]
        return loss, spec.weights[int(target)] if spec.weights else 1.0
    if spec.kind == "binary":
        if target < 0:
            return 0.0, 0.0
        loss = _cross_entropy(logits[0], target)
        return loss, spec.weights[int(target)] if spec.weights else 1.0
    wanted = target if isinstance(target, Sequence) else [target]
    terms = []
    for k, (z, y) in enumerate(zip(logits, wanted, strict=True)):
        if math.isnan(y):
            continue
        if spec.kind == "multilabel":
            terms.append(_cross_entropy(z, y, spec.weights[k] if spec.weights else 1.0))
        else:
            mean, std = (spec.mean[k], spec.std[k]) if spec.mean else (0.0, 1.0)
            terms.append((z - (y - mean) / std) ** 2)
    return (sum(terms) / len(terms), 1.0) if terms else (0.0, 0.0)


def _cross_entropy(logit: float, label: float, positive_weight: float = 1.0) -> float:
    """-w y log s(z) - (1 - y) log (1 - s(z))."""
    s = 1 / (1 + math.exp(-logit))
    return -positive_weight * label * math.log(s) - (1 - label) * math.log(1 - s)
