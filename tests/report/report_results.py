"""Real results of small random models, for the tests of the report."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion.base import Fusion
from mmfuse.missing import RowFacts
from mmfuse.robustness import RobustnessResult, evaluate
from mmfuse_encoders import MLPEncoder

TARGETS = {
    "kind": TargetSpec("multiclass", classes=("red", "green", "blue")),
    "tags": TargetSpec("multilabel", classes=("old", "new")),
    "size": TargetSpec("regression", mean=(2.0,), std=(3.0,)),
}
ROWS = 40


def result_of(
    fusion: type[Fusion],
    modalities: tuple[str, ...] = ("left", "right"),
    targets: Mapping[str, TargetSpec] = TARGETS,
    bootstrap: int = 20,
) -> RobustnessResult:
    """What a random model does on random rows."""
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(3) for m in modalities}, dict(targets))
    encoders = {m: MLPEncoder(3, out_dim=4) for m in modalities}
    model = FusionModel(spec, encoders, fusion(dict.fromkeys(modalities, 4), out_dim=4))
    shape = (ROWS, len(modalities))
    known = {
        "kind": torch.randint(0, 3, (ROWS,)),
        "tags": torch.randint(0, 2, (ROWS, 2)).float(),
        "size": torch.randn(ROWS),
    }
    rows = Batch(
        modalities,
        {m: torch.randn(ROWS, 3) for m in modalities},
        torch.ones(shape, dtype=torch.bool),
        {name: known[name] for name in targets},
        torch.arange(ROWS),
    )
    facts = RowFacts(modalities, rows.index, rows.present, known["kind"], torch.rand(shape))
    trained = {"dropout": {"rate": 0.3}, "order": list(modalities)}
    return evaluate(model, [rows], facts, bootstrap=bootstrap, trained_with=trained)
