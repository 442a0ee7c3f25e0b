"""Small models and rows for the tests of attacks and radii."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion
from mmfuse_encoders import IdentityEncoder, MLPEncoder

WIDTHS = {"a": 3, "b": 4}
THREE = TargetSpec("multiclass", ("red", "green", "blue"))


def linear_model(dtype: torch.dtype = torch.float64) -> FusionModel:
    """Scores that are one linear map of both inputs."""
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in WIDTHS.items()}, {"y": THREE})
    encoders = {m: IdentityEncoder(w) for m, w in WIDTHS.items()}
    return FusionModel(spec, encoders, ConcatFusion(WIDTHS, out_dim=7, hidden=0)).to(dtype)


def curved_model() -> FusionModel:
    """Perceptrons, one input of which is standardised."""
    torch.manual_seed(0)
    modalities = {
        "a": ModalitySpec("vector", (3,), mean=(1.0, 0.0, -1.0), std=(2.0, 0.5, 1.0)),
        "b": ModalitySpec.of(4),
    }
    encoders = {"a": MLPEncoder(modalities["a"], 8), "b": MLPEncoder(4, 8, dropout=0.5)}
    fusion = ConcatFusion({"a": 8, "b": 8}, out_dim=8)
    return FusionModel(DataSpec(modalities, {"y": THREE}), encoders, fusion)


def rows(count: int = 24, dtype: torch.dtype = torch.float32, gaps: bool = True) -> Batch:
    """Rows with gaps (NaN stands in absent slots) and a few unknown labels."""
    source = torch.Generator().manual_seed(1)
    present = torch.rand(count, 2, generator=source) < 0.7
    if not gaps:
        present = torch.ones_like(present)
    inputs = {
        m: torch.randn(count, w, generator=source)
        .to(dtype)
        .masked_fill(~present[:, [i]], torch.nan)
        for i, (m, w) in enumerate(WIDTHS.items())
    }
    label = torch.randint(-1 if gaps else 0, 3, (count,), generator=source)
    return Batch(("a", "b"), inputs, present, label)


def labelled_as_predicted(model: FusionModel, batch: Batch) -> Batch:
    """The same rows, each labelled with what the model names."""
    with torch.no_grad():
        label = model.eval()(batch).logits["y"].argmax(dim=1)
    return Batch(batch.modalities, batch.inputs, batch.present, label, batch.index)


def joint_length(moves: Mapping[str, Tensor]) -> Tensor:
    """``(E, B)`` l2 norm over all modalities."""
    return torch.stack([v.flatten(2).square().sum(dim=2) for v in moves.values()]).sum(dim=0).sqrt()
