"""The side of fusilli 2.0, run by beside_fusilli.py with the Python of an environment of its own.

Prints two numbers: seconds a step of the last epoch, its validation included; and of a bare
loop over the same module, optimizer and batches, already in memory.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

import lightning as L
import pandas as pd
import torch
from fusilli.data import prepare_fusion_data
from fusilli.fusionmodels.base_model import BaseModel
from fusilli.utils.model_chooser import import_chosen_fusion_models
from fusilli.utils.training_utils import init_trainer, set_checkpoint_name, set_logger


class Stopwatch(L.Callback):
    """Seconds of the last epoch, between its first batch and the end of its validation."""

    start = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


def main(name: str, table: str, batch: int, epochs: int) -> None:
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.mkdtemp())
    paths = {part: str(folder / part) for part in ("checkpoints", "figures", "losses")}
    for path in paths.values():
        Path(path).mkdir()
    rows = pd.read_csv(table)
    sources = {"image": "", "tabular3": ""}
    for part in ("tabular1", "tabular2"):
        own = [c for c in rows if c.startswith(part)]
        sources[part] = str(folder / f"{part}.csv")
        rows[["ID", "prediction_label", *own]].to_csv(sources[part], index=False)
    (fusion,) = import_chosen_fusion_models({"method_name": name})
    data = prepare_fusion_data("binary", fusion, sources, paths, test_size=0.2, batch_size=batch)
    watch = Stopwatch()
    logger = set_logger(None, None, paths, fusion)
    file = set_checkpoint_name(fusion)
    trainer = init_trainer(logger, paths, max_epochs=epochs, checkpoint_filename=file)
    trainer.callbacks.append(watch)
    model = BaseModel(fusion("binary", data.data_dims, data.multiclass_dimensions))
    trainer.fit(model, data.train_dataloader(), data.val_dataloader())
    batches = list(data.train_dataloader())
    print(f"\nRESULT {watch.seconds / len(batches)} {bare(model, batches)}")


def bare(model: BaseModel, batches: list) -> float:
    """Seconds a step without Lightning, data loading, metrics or validation."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):  # the first pass warms up
        start = time.perf_counter()
        for batch in batches:
            optimizer.zero_grad()
            x, y = model.get_data_from_batch(batch)
            model.get_model_outputs_and_loss(x, y)[0].backward()
            optimizer.step()
    return (time.perf_counter() - start) / len(batches)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
