"""Fills: what stands in for a modality that an item lacks, where absence is not told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from mmfuse.batch import Batch
from mmfuse.model import FusionModel
from mmfuse.tokens import Tokens

Fill = Literal["absent", "zero", "mean"]
#: In the order of tables: the model as it is, and the baselines.
FILLS: tuple[Fill, ...] = ("absent", "zero", "mean")


def fills_of(tower: FusionModel) -> dict[Fill, Mapping[str, Tokens] | None]:
    """What the encoders make of each stand-in; None for ``absent``, where there is none.

    ``zero`` is a vector of zeros in place of the raw features, as other toolboxes have it;
    ``mean`` one of training means, which standardisation turns into zeros. Both count as present.
    Vectors and tables have a zero; with other modalities among them there is no baseline. Without
    standardisation ``mean`` is left out: there is no mean to tell.

    Args:
        tower: in eval mode.

    Returns:
        for each modality one row of tokens
    """
    found: dict[Fill, Mapping[str, Tokens] | None] = {"absent": None}
    specs = tower.spec.modalities
    if any(s.kind not in ("vector", "table") for s in specs.values()):
        return found
    device = tower.fusion.prior.device
    zero = {m: torch.zeros(1, s.width, device=device) for m, s in specs.items()}
    mean = {m: torch.zeros_like(x) for m, x in zero.items()}
    for m, spec in specs.items():
        mean[m][0, : len(spec.mean)] = torch.tensor(spec.mean)
    there = torch.ones(1, len(specs), dtype=torch.bool, device=device)
    found["zero"] = tower.encode(Batch(tuple(specs), zero, there))
    if any(s.mean for s in specs.values()):
        found["mean"] = tower.encode(Batch(tuple(specs), mean, there))
    return found
