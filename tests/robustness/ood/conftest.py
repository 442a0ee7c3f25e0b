"""Models of the planted task, trained in a moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from planted_classes import CLASSES, WIDTHS, rows

from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion
from mmfuse.fusion.base import Fusion
from mmfuse.objectives import SupervisedLoss, UnimodalLoss
from mmfuse_encoders import MLPEncoder

Trained = tuple[FusionModel, UnimodalLoss]


@pytest.fixture(scope="session")
def train() -> Callable[..., Trained]:
    """Trains a model, and unimodal heads beside it, on complete rows of the three classes."""

    def make(
        fusion: type[Fusion] = ConcatFusion, target: TargetSpec | None = None, steps: int = 80
    ) -> Trained:
        torch.manual_seed(0)
        target = target or TargetSpec("multiclass", CLASSES)
        spec = DataSpec({m: ModalitySpec.of(w) for m, w in WIDTHS.items()}, {"kind": target})
        encoders = {m: MLPEncoder(w, hidden=(16,), out_dim=8) for m, w in WIDTHS.items()}
        model = FusionModel(spec, encoders, fusion(dict.fromkeys(WIDTHS, 8), out_dim=8))
        fused, heads = SupervisedLoss(), UnimodalLoss()
        for objective in (fused, heads):
            objective.build(model)
        batch = rows(range(2 if target.kind == "binary" else 3), 200, seed=1)
        learned = [*model.parameters(), *heads.parameters()]
        optimizer = torch.optim.Adam(learned, lr=0.01)
        for _ in range(steps):
            tokens = model.encode(batch)
            output = model.read(model.fuse(tokens, batch.present), batch.present)
            losses = [o(model, batch, tokens, output) for o in (fused, heads)]
            optimizer.zero_grad()
            sum(v for found in losses for v in found.values()).backward()
            optimizer.step()
        return model.eval(), heads.eval()

    return make


@pytest.fixture(scope="session")
def trained(train: Callable[..., Trained]) -> Trained:
    return train()
