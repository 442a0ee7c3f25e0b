"""A small aligned model with random weights, and rows with gaps and classes."""

from __future__ import annotations

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import UnitMeanFusion
from mmfuse.missing import RowFacts
from mmfuse_encoders import MLPEncoder

WIDTHS = {"a": 3, "b": 4, "c": 5}
ROWS = 30


@pytest.fixture
def aligned() -> FusionModel:
    torch.manual_seed(0)
    spec = DataSpec(
        {m: ModalitySpec.of(width) for m, width in WIDTHS.items()},
        {"kind": TargetSpec("multiclass", classes=("red", "green", "blue"))},
    )
    encoders = {m: MLPEncoder(width, out_dim=6) for m, width in WIDTHS.items()}
    model = FusionModel(spec, encoders, UnitMeanFusion(dict.fromkeys(WIDTHS, 6)), heads={})
    torch.nn.init.normal_(model.fusion.prior)
    return model


@pytest.fixture
def rows() -> Batch:
    draw = torch.Generator().manual_seed(1)
    present = torch.rand(ROWS, 3, generator=draw) < 0.75
    inputs = {m: torch.randn(ROWS, width, generator=draw) for m, width in WIDTHS.items()}
    inputs["a"][1], inputs["a"][2] = inputs["a"][0], inputs["a"][0]  # copies, which tie
    present[:3] = True
    present[3] = False
    present[4] = torch.tensor([True, False, False])  # an item, and nothing to ask for it with
    kind = torch.randint(-1, 3, (ROWS,), generator=draw)
    kind[:3] = 1  # so that the order of copies changes nothing
    index = torch.randperm(500, generator=draw)[:ROWS]
    return Batch(tuple(WIDTHS), inputs, present, {"kind": kind}, index)


@pytest.fixture
def facts(rows: Batch) -> RowFacts:
    value = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(2))
    value = torch.where(rows.present, value, 0.5)
    return RowFacts(rows.modalities, rows.index, rows.present, rows.target["kind"], value)


@pytest.fixture
def batches(rows: Batch) -> list[Batch]:
    return [rows.rows(part) for part in torch.arange(ROWS).split(12)]
