"""Memory that the extraction of a million rows needs beside the program itself."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np

from mmfuse import Extractor
from mmfuse.data import HFData
from mmfuse_encoders import MLPEncoder

ROWS, WIDTH, OUT, BLOCK = 1_000_000, 64, 256, 10_000


def blocks() -> Iterator[dict[str, np.ndarray]]:
    source = np.random.default_rng(0)
    for _ in range(ROWS // BLOCK):
        for row in source.normal(size=(BLOCK, WIDTH)).astype(np.float32):
            yield {"x": row}


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    datasets.disable_progress_bars()
    folder = Path(tempfile.mkdtemp())
    features = datasets.Features({"x": datasets.List(datasets.Value("float32"), length=WIDTH)})
    made = datasets.Dataset.from_generator(blocks, features=features, cache_dir=str(folder / "c"))
    made.save_to_disk(folder / "rows")
    del made
    before, start = peak(), time.perf_counter()
    data = HFData(str(folder / "rows"), {"x": "x"}, val=0, test=1)
    Extractor({"x": MLPEncoder(WIDTH, out_dim=OUT)}).extract(data, folder / "features", ["x"])
    took = time.perf_counter() - start
    size = sum(p.stat().st_size for p in (folder / "features").rglob("*") if p.is_file()) / 2**30
    print(f"{ROWS:,} rows of {WIDTH} numbers -> {OUT} features each, {size:.2f} GiB of files")
    print(f"peak memory {before:.2f} GiB before, {peak():.2f} GiB after, in {took:.0f} s")
    print(f"extra: {peak() - before:.2f} GiB\ntarget: under 2 GiB")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
