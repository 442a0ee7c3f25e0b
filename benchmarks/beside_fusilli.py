"""Steps a second of mmfuse beside fusilli 2.0, metrics, validation and logging included.

fusilli's pins downgrade torchmetrics and NumPy, so it needs an environment of its own:

    python -m venv fusilli-env && fusilli-env/bin/pip install fusilli==2.0.0
    python benchmarks/beside_fusilli.py --python fusilli-env/bin/python
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
from ratio import compare

from mmfuse import SupervisedTask, TableData, Trainer

ROWS, COLUMNS, BATCH, EPOCHS = 10_000, 50, 64, 3
# fusilli's layers for a table, and the perceptron after its concatenation.
SAME_ENCODER = {
    "class_path": "MLPEncoder",
    "init_args": {"hidden": [32, 64, 128, 256], "out_dim": 256},
}
SAME_CONCAT = {
    "class_path": "ConcatFusion",
    "init_args": {"hidden": 256, "out_dim": 64, "dropout": 0.15},
}
SAME_ATTENTION = {
    "class_path": "CrossModalAttentionFusion",
    "init_args": {"out_dim": 50, "heads": 2, "hidden": 64},
}
PAIRS = {
    "Concatenating tabular feature maps": {
        "mmfuse, its defaults": ("MLPEncoder", "ConcatFusion"),
        "mmfuse, fusilli's layers": (SAME_ENCODER, SAME_CONCAT),
    },
    "Tabular Crossmodal multi-head attention": {
        "mmfuse, its defaults": ("MLPEncoder", "CrossModalAttentionFusion"),
        "mmfuse, fusilli's layers": (SAME_ENCODER, SAME_ATTENTION),
    },
}


class Stopwatch(L.Callback):
    """Seconds of the last epoch, between its first batch and the end of its validation."""

    start = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


def ours(table: str, encoder: object, fusion: object) -> float:
    """Seconds a step: 80 % of the rows train, 20 % validate, as in fusilli."""
    watch = Stopwatch()
    groups = {m: f"{m}_*" for m in ("tabular1", "tabular2")}
    data = TableData(table, groups, {"y": "prediction_label"}, batch_size=BATCH, val=0.2, test=0.0)
    task = SupervisedTask(dict.fromkeys(groups, encoder), fusion)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=EPOCHS,
            default_root_dir=folder,
            callbacks=[watch],
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data)
    return watch.seconds / (0.8 * ROWS / BATCH)


def theirs(python: str, method: str, table: str) -> tuple[float, float]:
    """Seconds a step under fusilli and in a bare loop, measured in fusilli's own process."""
    script = Path(__file__).with_name("fusilli_side.py")
    command = [python, str(script), method, table, str(BATCH), str(EPOCHS)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    whole, bare = told.split("RESULT ")[1].split()
    return float(whole), float(bare)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="the Python that has fusilli")
    python = parser.parse_args().python
    draw = np.random.default_rng(0)
    columns = {f"tabular{k}_{i}": draw.normal(size=ROWS) for k in (1, 2) for i in range(COLUMNS)}
    rows = {"ID": range(ROWS), "prediction_label": draw.integers(0, 2, ROWS), **columns}
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "rows.csv")
        pd.DataFrame(rows).to_csv(table, index=False)
        for method, sides in PAIRS.items():
            run: dict[str, float] = {}

            def bare(method: str = method, run: dict[str, float] = run) -> float:
                run["whole"], alone = theirs(python, method, table)
                return alone

            compare(
                f"Two tables of {ROWS} x {COLUMNS}, batch {BATCH}, seconds a step; {method}",
                {
                    **{name: lambda s=s: ours(table, *s) for name, s in sides.items()},
                    "fusilli's module, bare loop": bare,
                    "fusilli 2.0": lambda run=run: run["whole"],
                },
                rounds=5,
                target="at most 0.25 of fusilli's time",
            )


if __name__ == "__main__":
    main()
