"""Memory and time that the suite of absence takes for a hundred thousand rows."""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import SumFusion
from mmfuse.missing import RowFacts
from mmfuse.robustness import complete_conditions, evaluate
from mmfuse_encoders import IdentityEncoder

MODALITIES, WIDTH, BATCH, CLASSES = 6, 16, 1000, 5


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(count: int = 100_000) -> None:
    torch.manual_seed(0)
    names = tuple(f"m{i}" for i in range(MODALITIES))
    spec = DataSpec(
        {m: ModalitySpec.of(WIDTH) for m in names},
        {"y": TargetSpec("multiclass", tuple("abcde"[:CLASSES]))},
    )
    encoders = {m: IdentityEncoder(WIDTH) for m in names}
    model = FusionModel(spec, encoders, SumFusion(dict.fromkeys(names, WIDTH), out_dim=WIDTH))
    inputs = {m: torch.randn(count, WIDTH) for m in names}
    present = torch.rand(count, MODALITIES) < 0.9
    y = torch.randint(0, CLASSES, (count,))
    rows = Batch(names, inputs, present, y)
    value = torch.rand(count, MODALITIES)
    facts = RowFacts(names, rows.index, present, y, value, torch.arange(count) // 100)
    suite = complete_conditions(names, facts)
    batches = (rows.rows(part) for part in torch.arange(count).split(BATCH))

    before, start = peak(), time.perf_counter()
    result = evaluate(model, batches, facts, suite)
    took, after = time.perf_counter() - start, peak()
    folder = Path(tempfile.mkdtemp())
    result.save(folder)
    print(f"{count:,} rows, {len(suite)} conditions, {MODALITIES} modalities, {CLASSES} classes")
    print(f"peak memory {before:.2f} GiB before, {after:.2f} GiB after, in {took:.0f} s")
    for name in ("predictions", "masks", "conditions", "coverage"):
        table = getattr(result, name)
        held = table.memory_usage(index=False, deep=True).sum() / 2**20
        size = (folder / f"{name}.parquet").stat().st_size / 2**20
        print(f"{name}: {len(table):,} lines, {held:.0f} MiB held, {size:.1f} MiB on disk")
    print(f"extra: {after - before:.2f} GiB, {peak() - before:.2f} GiB with writing")
    print("target: under 4 GiB")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
