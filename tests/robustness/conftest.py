"""A small model with random weights, and rows with gaps, for the robustness tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion, SequentialFusion
from mmfuse.fusion.base import Fusion
from mmfuse.missing import RowFacts
from mmfuse_encoders import MLPEncoder

WIDTHS = {"a": 3, "b": 4, "c": 5}
ROWS = 60


@pytest.fixture
def spec() -> DataSpec:
    return DataSpec(
        {m: ModalitySpec.of(width) for m, width in WIDTHS.items()},
        {
            "kind": TargetSpec("multiclass", classes=("red", "green", "blue")),
            "ill": TargetSpec("binary", classes=("no", "yes")),
            "tags": TargetSpec("multilabel", classes=("old", "new")),
            "size": TargetSpec("regression", mean=(2.0,), std=(3.0,)),
        },
    )


@pytest.fixture
def make_model(spec: DataSpec) -> Callable[[type[Fusion]], FusionModel]:
    def make(fusion: type[Fusion] = ConcatFusion) -> FusionModel:
        torch.manual_seed(0)
        encoders = {m: MLPEncoder(width, out_dim=8) for m, width in WIDTHS.items()}
        model = FusionModel(spec, encoders, fusion(dict.fromkeys(WIDTHS, 8), out_dim=8))
        torch.nn.init.normal_(model.fusion.prior)
        return model

    return make


@pytest.fixture
def model(make_model: Callable[[type[Fusion]], FusionModel]) -> FusionModel:
    return make_model(SequentialFusion)


@pytest.fixture
def rows() -> Batch:
    generator = torch.Generator().manual_seed(1)
    present = torch.rand(ROWS, 3, generator=generator) < 0.8
    inputs = {m: torch.randn(ROWS, width, generator=generator) for m, width in WIDTHS.items()}
    size = torch.randn(ROWS, generator=generator)
    size[3] = torch.nan
    return Batch(
        tuple(WIDTHS),
        inputs,
        present,
        {
            "kind": torch.randint(-1, 3, (ROWS,), generator=generator),
            "ill": torch.randint(0, 2, (ROWS,), generator=generator),
            "tags": torch.randint(0, 2, (ROWS, 2), generator=generator).float(),
            "size": size,
        },
        torch.randperm(500, generator=generator)[:ROWS],
    )


@pytest.fixture
def facts(rows: Batch) -> RowFacts:
    value = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(2))
    value = torch.where(rows.present, value, 0.5)
    return RowFacts(rows.modalities, rows.index, rows.present, rows.target["kind"], value)


@pytest.fixture
def batches(rows: Batch) -> list[Batch]:
    return [rows.rows(part) for part in torch.arange(ROWS).split(25)]
