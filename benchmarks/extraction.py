"""Extraction through open_clip's ViT-B-32 beside a bare loop, and what decoding ahead is worth.

The weights are random; the time does not depend on them. Both sides of the first comparison
begin with decoded pictures, the second begins with JPEG files. The clock starts when the first
batch does: what an extraction does once (digests of the model and of the data) is not counted.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from ratio import compare, seconds
from tower import Tower

from mmfuse import Extractor, ModalitySpec
from mmfuse.data import FusionDataModule
from mmfuse.features.inputs import fitted
from mmfuse_encoders import OpenClipImageEncoder

ROWS, BATCH = 96, 32


def extraction(extractor: Extractor, data: FusionDataModule, workers: int = 0) -> float:
    """Seconds from the first batch to the last file."""
    folder = Path(tempfile.mkdtemp())
    begun: list[float] = []

    def progress(done: int, total: int) -> None:
        if not begun:
            begun.append(time.perf_counter())

    extractor.extract(
        data, folder / "f", ["image"], batch_size=BATCH, workers=workers, progress=progress
    )
    took = time.perf_counter() - begun[0]
    shutil.rmtree(folder)
    return took


def beside_a_bare_loop() -> None:
    pixels = torch.randn(ROWS, 3, 224, 224)
    tower = Tower(ModalitySpec("image", (3, 224, 224)))
    extractor = Extractor({"image": tower})
    data, _ = fitted({"image": pixels.numpy()}, extractor.model)

    @torch.inference_mode()
    def bare() -> None:
        for batch in pixels.split(BATCH):
            tower(batch)

    compare(
        f"{ROWS} decoded pictures through ViT-B-32: throughput of Extractor over a bare loop's",
        {
            "bare loop": lambda: seconds(bare),
            "Extractor, files written": lambda: extraction(extractor, data),
        },
        rounds=5,
        target="at least 0.95",
    )


def overlap() -> None:
    source = np.random.default_rng(0)
    files = []
    for _ in range(ROWS):
        small = Image.fromarray(source.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        content = io.BytesIO()
        small.resize((1600, 1200)).save(content, "JPEG")
        files.append(content.getvalue())
    encoder = OpenClipImageEncoder(ModalitySpec("image"), model="ViT-B-32")
    extractor = Extractor({"image": encoder})
    data, _ = fitted({"image": files}, extractor.model)
    data.attach(extractor.model.preprocess)

    @torch.inference_mode()
    def serial() -> None:
        dataset = data.dataset("test", missing=None)
        for rows in torch.arange(ROWS).split(BATCH):
            extractor.model.encode(dataset.__getitems__(rows))

    compare(
        f"{ROWS} JPEG files of 1600 x 1200 through ViT-B-32: decoding ahead or in turn",
        {
            "Extractor, a thread ahead": lambda: extraction(extractor, data),
            "Extractor, 2 workers": lambda: extraction(extractor, data, workers=2),
            "in turn, nothing written": lambda: seconds(serial),
        },
        rounds=5,
        target="reported",
    )


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # that the weights are random, which the title says
    torch.manual_seed(0)
    beside_a_bare_loop()
    overlap()
