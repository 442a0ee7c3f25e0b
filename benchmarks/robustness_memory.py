"""Memory and size of a whole robustness study of 100,000 rows, every suite in it.

python benchmarks/robustness_memory.py [rows]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import lightning as L
import numpy as np

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.runs import hush
from mmfuse.suites import OOD, Attacks, Corruptions, Interactions, LeakCheck, Suite, Worst

MODALITIES, CLASSES, BOOTSTRAP = 4, 5, 100


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    hush()
    L.seed_everything(0, verbose=False)
    draw = np.random.default_rng(0)
    label = draw.integers(0, CLASSES, 2 * rows)
    inputs = {
        f"m{i}": (np.eye(CLASSES)[label] + draw.normal(size=(2 * rows, CLASSES))).astype("float32")
        for i in range(MODALITIES)
    }
    far = ArrayData({m: x[:1000] + 9 for m, x in inputs.items()})
    data = ArrayData(inputs, label, test=0.5, seed=0, batch_size=1024)
    suites: list[Suite] = [Attacks(), Corruptions(), Interactions(), LeakCheck(), Worst()]
    suites.append(OOD({"far": far}, {"far": "far"}))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(max_epochs=1, default_root_dir=folder, enable_progress_bar=False)
        task = SupervisedTask()
        trainer.fit(task, datamodule=data)
        before, start = _peak(), time.perf_counter()
        found = trainer.robustness(
            task, data, "best", out=folder, suites=suites, absence="complete", bootstrap=BOOTSTRAP
        )
        took, page = time.perf_counter() - start, Path(folder) / "report.html"
        conditions = found.absence.conditions["condition"].nunique()
        print(
            f"{found.absence.meta['rows']:,} rows, {MODALITIES} modalities, {conditions} "
            f"conditions of absence, {len(suites)} suites: {took:.0f} s"
        )
        print(f"peak {before:.2f} GiB after training, {_peak():.2f} GiB after the study")
        print(f"report.html {page.stat().st_size / 1e6:.1f} MB (target: below 5)")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
