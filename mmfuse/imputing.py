"""Imputing: imputers are shown the training rows, again whenever encoders have changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.fusion.imputed import ImputedFusion
from mmfuse.fusion.imputers import FittedImputer
from mmfuse.model import FusionModel
from mmfuse.tasks import FusionTask


def fit_imputer(model: FusionModel, batches: Iterable[Batch]) -> None:
    """Shows a model's imputer the training rows, as the encoders see them now.

    Args:
        model: whose fusion is an ``ImputedFusion`` with an imputer that is fitted to rows.
        batches: the training rows, with the absence that training has. They are moved to the
            device of the model.

    Raises:
        ConfigError: the model has no such imputer.
        DataError: no row has a modality, or encoders give numbers that are not finite.

    Example:
        >>> from mmfuse import DataSpec, ModalitySpec
        >>> from mmfuse.fusion.imputers import MeanImputer
        >>> from mmfuse_encoders import IdentityEncoder
        >>> spec = DataSpec({"a": ModalitySpec.of(1), "b": ModalitySpec.of(1)})
        >>> encoders = {m: IdentityEncoder(s) for m, s in spec.modalities.items()}
        >>> fusion = ImputedFusion({"a": 1, "b": 1}, imputer=MeanImputer())
        >>> model = FusionModel(spec, encoders, fusion)
        >>> inputs = {"a": torch.tensor([[1.0], [3.0]]), "b": torch.zeros(2, 1)}
        >>> fit_imputer(model, [Batch(("a", "b"), inputs, torch.ones(2, 2).bool())])
        >>> fusion.imputer.mean
        tensor([2., 0.])
    """
    _show(model, _encodings(model, batches))


class _Rows(NamedTuple):
    """Row numbers ``(N,)``, mean tokens side by side ``(N, D)``, who is there ``(N, M)``."""

    number: Tensor
    x: Tensor
    present: Tensor


def _is_fitted(model: FusionModel) -> bool:
    """Whether the model has an imputer to show rows to."""
    fusion = model.fusion
    return isinstance(fusion, ImputedFusion) and isinstance(fusion.imputer, FittedImputer)


def _show(model: FusionModel, rows: _Rows) -> None:
    order = rows.number.argsort()  # the same for any number of processes
    cast(FittedImputer, model.fusion.imputer).fit(rows.x[order], rows.present[order])


@torch.no_grad()
def _encodings(model: FusionModel, batches: Iterable[Batch]) -> _Rows:
    if not _is_fitted(model):
        raise ConfigError(
            f"The model's fusion, {type(model.fusion).__name__}, has no imputer that is fitted to "
            "rows. Nothing needs to be shown to it."
        )
    fusion = cast(ImputedFusion, model.fusion)
    device, width = fusion.prior.device, sum(fusion.dims.values())
    found = [
        _Rows(
            torch.zeros(0, dtype=torch.long, device=device),
            fusion.prior.new_zeros(0, width),
            torch.zeros(0, len(fusion.dims), dtype=torch.bool, device=device),
        )
    ]
    with model.evaluating():
        for batch in batches:
            batch = batch.to(device)
            tokens, present = fusion.blanked(model.encode(batch), model.present(batch))
            found.append(_Rows(batch.index, fusion.joined(tokens), present))
    return _joined(found)


def _joined(parts: list[_Rows]) -> _Rows:
    return _Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))


class ImputerFit(Callback):
    """Shows an imputer the training rows when a fit starts, and once the encoders have learned.

    Of each epoch that is when it is about to be scored, so that scores and checkpoints are of
    encoders and imputer that belong together; encoders that do not learn are looked at once. It
    costs one more pass of the encoders over the training rows, in eval mode. Other models than
    those with an imputer that is fitted to rows are left alone.
    """

    def __init__(self) -> None:
        self._fitted_at = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before the first step."""
        self._fitted_at = -1
        self._fit(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before an epoch's weights are scored."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._fit(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Where no rows validate."""
        self._fit(trainer, pl_module)

    def _fit(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if not isinstance(task, FusionTask) or task.model is None or not _is_fitted(task.model):
            return
        learns = any(p.requires_grad for p in task.model.encoders.parameters())
        if self._fitted_at == trainer.global_step or (self._fitted_at >= 0 and not learns):
            return
        self._fitted_at = trainer.global_step
        data: FusionDataModule = trainer.datamodule  # type: ignore[attr-defined]
        rows = _encodings(task.model, data.loader("train"))
        _show(task.model, _of_all_processes(rows, trainer.world_size))


def _of_all_processes(rows: _Rows, world: int) -> _Rows:
    """Every process's rows."""
    if world == 1:
        return rows
    every: list[tuple[Tensor, ...]] = [()] * world
    torch.distributed.all_gather_object(every, tuple(part.cpu() for part in rows))
    device = rows.number.device
    return _joined([_Rows(*(part.to(device) for part in one)) for one in every])
