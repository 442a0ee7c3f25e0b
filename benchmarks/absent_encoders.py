"""Encoder time when half of the rows lack each modality, beside none."""

from __future__ import annotations

import torch
from ratio import compare, seconds

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import MeanFusion
from mmfuse_encoders import MLPEncoder

MODALITIES, WIDTH = 6, 256


def measure(count: int) -> None:
    """Prints the ratio for batches of ``count`` rows."""
    torch.manual_seed(0)
    names = tuple(f"m{i}" for i in range(MODALITIES))
    spec = DataSpec({m: ModalitySpec.of(WIDTH) for m in names}, {"y": TargetSpec("regression")})
    encoders = {m: MLPEncoder(WIDTH, out_dim=WIDTH, hidden=(1024, 1024)) for m in names}
    model = FusionModel(spec, encoders, MeanFusion(dict.fromkeys(names, WIDTH)))
    inputs = {m: torch.randn(count, WIDTH) for m in names}
    full = Batch(names, inputs, torch.ones(count, MODALITIES, dtype=torch.bool))
    half = Batch(names, inputs, torch.rand(count, MODALITIES) < 0.5)

    def step(batch: Batch) -> float:
        def work() -> None:
            model.zero_grad()
            tokens = model.encode(batch)
            sum(t.values.square().mean() for t in tokens.values()).backward()

        return seconds(work, repeats=5)

    compare(
        f"Encoders, forward and backward: {MODALITIES} modalities, width {WIDTH}, batch {count}",
        {"half absent": lambda: step(half), "none absent": lambda: step(full)},
        target="at most 0.6",
    )


if __name__ == "__main__":
    # The gradients of the weights cost the same whatever the rows, so short batches gain less.
    for rows in (256, 1024):
        measure(rows)
