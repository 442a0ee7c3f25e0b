"""Predictions as a table: one line a row of the data set, joined by its number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import lightning as L
import pandas as pd
import torch
from torch import Tensor

from mmfuse.files import replacing
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec


def to_frame(outputs: Iterable[Mapping[str, Tensor]], spec: DataSpec) -> pd.DataFrame:
    """Joins what ``Trainer.predict`` returns into one table, sorted by row.

    Args:
        outputs: one mapping a batch, from ``SupervisedTask.predict_step``.
        spec: names the targets and their classes.

    Returns:
        ``row``; for each classified target ``<target>`` (the class) and
        ``<target>_<class>`` (its probability); for several labels at once only the
        probabilities; for regression the value, or ``<target>_0`` and so on for several; for
        survival ``<target>_risk`` and ``<target>_survival_<time>``, the probability that the
        event comes later.
    """
    batches = list(outputs) or [_no_rows(spec)]  # a process among many may have no batch
    joined = {k: torch.cat([b[k] for b in batches]).cpu().numpy() for k in batches[0]}
    columns: dict[str, Any] = {"row": joined["row"]}
    for name, target in spec.targets.items():
        values = joined[name]
        if target.kind in ("binary", "multiclass"):
            columns[name] = [target.classes[k] for k in values.argmax(axis=1)]
        if target.is_classification:
            columns |= {f"{name}_{c}": values[:, k] for k, c in enumerate(target.classes)}
        elif target.kind == "regression" and target.width == 1:
            columns[name] = values[:, 0]
        else:
            columns |= {f"{name}_{output}": values[:, k] for k, output in enumerate(target.outputs)}
    return pd.DataFrame(columns).drop_duplicates("row").sort_values("row", ignore_index=True)


def _no_rows(spec: DataSpec) -> dict[str, Tensor]:
    scores = {t: s.predict(torch.empty(0, s.out_dim)) for t, s in spec.targets.items()}
    return {"row": torch.empty(0, dtype=torch.long), **scores}


class PredictionWriter(L.Callback):
    """Writes a Parquet file at the end of ``predict``, every process its rows.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._outputs: list[Mapping[str, Tensor]] = []

    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forgets what a pass that failed has left."""
        self._outputs = []

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps a batch's predictions."""
        self._outputs.append({name: value.cpu() for name, value in outputs.items()})

    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes this process's rows; the first process joins all parts."""
        # A task whose predictions are of no target makes its own table of them.
        own = getattr(pl_module, "frame", None)
        spec = cast(FusionModel, pl_module.model).spec
        frame = own(self._outputs) if own else to_frame(self._outputs, spec)
        self._outputs = []
        parts = [self._part(rank) for rank in range(trainer.world_size)]
        with replacing(parts[trainer.global_rank]) as part:
            frame.to_parquet(part)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            whole = pd.concat([pd.read_parquet(p) for p in parts])
            with replacing(self.path) as part:
                whole.sort_values("row", ignore_index=True).to_parquet(part)
            for path in parts:
                path.unlink()

    def _part(self, rank: int) -> Path:
        return self.path.with_suffix(f".rank{rank}.part")
