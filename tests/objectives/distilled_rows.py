"""Rows of three modalities, of which some lack some, and a small team of models that reads them."""

from __future__ import annotations

import numpy as np
import torch

from mmfuse import ArrayData, Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec, Trainer
from mmfuse.distillation import Mask, Team
from mmfuse.fusion import ConcatFusion
from mmfuse_encoders import MLPEncoder

WIDTHS = {"a": 3, "b": 4, "c": 2}
ROWS = 14


def model_of(modalities, target, seed, fusion=ConcatFusion):
    torch.manual_seed(seed)
    spec = DataSpec({m: ModalitySpec.of(WIDTHS[m]) for m in modalities}, {"y": target})
    encoders = {m: MLPEncoder(WIDTHS[m], hidden=(6,), out_dim=5) for m in modalities}
    made = FusionModel(spec, encoders, fusion(dict.fromkeys(modalities, 5), out_dim=4, hidden=6))
    torch.nn.init.normal_(made.fusion.prior)
    return made.double().eval()


def team_of(target, masks=True, fusion=ConcatFusion):
    teacher, auxiliary = model_of("abc", target, 0, fusion), model_of("bc", target, 1, fusion)
    sites = [("teacher", "b", 5), ("teacher", "fused", 4), ("auxiliary", "c", 5)]
    made = [Mask(of, site, width, 3).double() for of, site, width in sites]
    for i, mask in enumerate(made):
        torch.manual_seed(10 + i)
        torch.nn.init.normal_(mask.widen.weight)
    team = Team(teacher, auxiliary, None, made if masks else [])
    for module in team.modules():
        module.requires_grad_(False)
    return team


def batch_of(rows=ROWS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(rows, 3, generator=generator) < 0.7
    present[:5] = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]).bool()
    draw = {
        m: torch.randn(rows, w, generator=generator, dtype=torch.float64) for m, w in WIDTHS.items()
    }
    return Batch(tuple(WIDTHS), draw, present, torch.arange(rows) % 3)


def classes(count=3):
    return TargetSpec("multiclass", classes=tuple(map(str, range(count))))


def planted(rows=160, seed=0, classes=3, absent=True, **options):
    """Data in which both modalities tell the class, the second better."""
    draw = np.random.default_rng(seed)
    label = np.arange(rows) % classes
    inputs = {
        "a": draw.normal(size=(classes, 3))[label] + draw.normal(size=(rows, 3)),
        "b": 2 * draw.normal(size=(classes, 4))[label] + draw.normal(size=(rows, 4)),
    }
    if absent:
        inputs["b"][3::7] = np.nan
        inputs["a"][5::11] = np.nan
    return ArrayData(inputs, {"kind": label}, **{"batch_size": 32, **options})


def quiet(folder, epochs=2, **options):
    return Trainer(
        default_root_dir=str(folder),
        max_epochs=epochs,
        enable_progress_bar=False,
        logger=False,
        **options,
    )
