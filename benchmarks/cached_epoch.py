"""One epoch from cached features beside one from raw pictures through a frozen ViT-B-32.

The weights are random; the time does not depend on them.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from pathlib import Path

import lightning as L
import numpy as np
import torch
from PIL import Image
from ratio import compare

from mmfuse import ArrayData, SupervisedTask, Trainer

ROWS = 192
ENCODERS = {"image": {"class_path": "OpenClipImageEncoder", "init_args": {"model": "ViT-B-32"}}}


class Clock(L.Callback):
    """Seconds of the training epoch, without set-up."""

    def on_train_epoch_start(self, *_: object) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start


def rows(**options: object) -> ArrayData:
    source = np.random.default_rng(0)
    files = []
    for _ in range(ROWS):
        content = io.BytesIO()
        small = Image.fromarray(source.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        small.resize((256, 256)).save(content, "JPEG")
        files.append(content.getvalue())
    labels = [f"class {i % 2}" for i in range(ROWS)]
    return ArrayData(
        {"image": files},
        labels,
        kinds={"image": "image"},
        split=["train"] * ROWS,
        batch_size=32,
        on_duplicates="allow",
        **options,
    )


def epoch(data: ArrayData) -> float:
    clock = Clock()
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[clock],
    )
    trainer.fit(SupervisedTask(ENCODERS, "MeanFusion"), datamodule=data)
    return clock.seconds


def main() -> None:
    torch.manual_seed(0)
    folder = str(Path(tempfile.mkdtemp()) / "features")
    quiet = Trainer(logger=False, enable_progress_bar=False)
    quiet.extract(SupervisedTask(ENCODERS, "MeanFusion"), rows(), out=folder)
    raw, cached = rows(), rows(cached={"image": folder})
    compare(
        f"A training epoch of {ROWS} pictures through a frozen ViT-B-32",
        {"raw pictures": lambda: epoch(raw), "cached features": lambda: epoch(cached)},
        rounds=3,
        target="at least 20",
    )


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # that the weights are random
    main()
