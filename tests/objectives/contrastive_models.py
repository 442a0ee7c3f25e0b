"""A model, a batch with gaps and the objectives on the contrastive core, to try on it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion
from mmfuse.objectives import (
    ChangeAlignmentLoss,
    CLIPLoss,
    CyCLIPLoss,
    GoalAlignmentLoss,
    SigLIPLoss,
    SubsetLanguageLoss,
    SupConLoss,
)
from mmfuse_encoders import LinearEncoder

ROWS, NAMES = 12, ("a", "b", "c")
TARGETS = {
    "kind": TargetSpec("multiclass", ("x", "y", "z")),
    "size": TargetSpec("regression", width=1),
}
EVERY = [
    CLIPLoss,
    CyCLIPLoss,
    SigLIPLoss,
    SupConLoss,
    SubsetLanguageLoss,
    GoalAlignmentLoss,
    ChangeAlignmentLoss,
]


def model_of(widths=None, names=NAMES, targets=("kind",), dropout=0.0):
    torch.manual_seed(0)
    widths = widths or dict.fromkeys(names, 4)
    spec = DataSpec({m: ModalitySpec.of(3) for m in widths}, {t: TARGETS[t] for t in targets})
    encoders = {m: LinearEncoder(3, out_dim=w) for m, w in widths.items()}
    fusion = ConcatFusion(widths, out_dim=5, hidden=6, dropout=dropout)
    return FusionModel(spec, encoders, fusion).double()


def batch_of(model, present=None):
    draw = torch.Generator().manual_seed(1)
    inputs = {m: torch.randn(ROWS, 3, generator=draw).double() for m in model.modalities}
    if present is None:
        present = torch.rand(ROWS, len(inputs), generator=draw) < 0.7
    kind = torch.randint(-1, 3, (ROWS,), generator=draw)
    target = {"kind": kind, "size": torch.randn(ROWS, 1, generator=draw).double()}
    kept = {t: target[t] for t in model.spec.targets}
    return Batch(tuple(inputs), inputs, present, kept)


def losses_of(objective, model, batch):
    objective.double().build(model)
    objective.double()
    tokens = model.encode(batch)
    present = model.present(batch)
    return objective(model, batch, tokens, model.read(model.fuse(tokens, present), present))


def vectors(model, batch, m):
    return F.normalize(model.encode(batch)[m].pooled(), dim=1)


def both(batch, *names):
    return torch.stack([batch.present[:, batch.modalities.index(m)] for m in names]).all(dim=0)
