"""GPVAETask: a multimodal GPVAE learns from series, and is scored by inferring absent ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.checkpoint import about, differing_parts
from mmfuse.errors import CheckpointError
from mmfuse.gpvae.model import MMGPVAE, require_counts
from mmfuse.gpvae.series import Series
from mmfuse.missing import ModalityDropout
from mmfuse.recorded import describe, in_words
from mmfuse.tasks.dropping import thinned
from mmfuse.tasks.optimizer import adam
from mmfuse.tasks.scores import Scores
from mmfuse.tasks.teams import data_of
from mmfuse.tasks.trained import TrainedTask
from mmfuse.tasks.unreadable import Unreadable
from mmfuse.tasks.unseen_series import UnseenSeries


class GPVAETask(TrainedTask):
    """Trains an ``MMGPVAE`` on series of several modalities; the data need no target.

    The loss is minus the evidence lower bound, in nats a step of the series. Validation and test
    log ``val/loss``, ``val/kl``, each modality's log-likelihood as ``val/<modality>``, and
    ``val/<modality>_r2_absent``: how well a series is inferred from the other modalities of its
    row alone, against the mean of each channel; 1 is perfect, 0 no better than the mean.

    ``mmfuse predict`` writes the posterior of each latent at each step; see ``frame``.

    Args:
        series: how each modality is seen; one that is not named is Gaussian with one private
            latent.
        shared: latents of all modalities.
        length_scale: where every latent's length scale starts, in steps; T / 4 by default.
        shortest: the shortest length scale, in steps; T / 8 by default.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
        modality_dropout: rate with which a training row loses each modality, drawn anew every
            epoch; a row keeps at least one. It trains each encoder to tell of the shared latents
            by itself.
        dropout_seed: seed of those draws.

    Raises:
        ConfigError, UnknownModalityError: at set-up, as ``MMGPVAE``.
        DataError: at the start of training, values of a Poisson series that are no counts.

    Reference: Gondur et al., "Multi-modal Gaussian Process Variational Autoencoders for Neural and
        Behavioral Data", ICLR 2024, arXiv:2310.03111.

    Departs from the authors' code: as ``MMGPVAE``; one learning rate for all.
    """

    def __init__(
        self,
        series: dict[str, Series] | None = None,
        shared: int = 1,
        length_scale: float | None = None,
        shortest: float | None = None,
        optimizer: OptimizerCallable = adam,
        scheduler: LRSchedulerCallable | None = None,
        modality_dropout: float = 0.2,
        dropout_seed: int = 0,
    ) -> None:
        super().__init__([], optimizer, scheduler)
        self.series, self._given = dict(series or {}), (shared, length_scale, shortest)
        self.modality_dropout = (
            ModalityDropout(modality_dropout, seed=dropout_seed) if modality_dropout else None
        )
        self.model: MMGPVAE | None = None
        self._unreadable = Unreadable()

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        shared, length_scale, shortest = self._given
        return {
            "series": {m: str(s) for m, s in self.series.items()},
            "shared": shared,
            "length_scale": length_scale,
            "shortest": shortest,
            "optimizer": in_words(self._optimizer),
            "scheduler": in_words(self._scheduler),
            "modality_dropout": describe(self.modality_dropout) if self.modality_dropout else None,
        }

    # Set-up.

    def setup(self, stage: str) -> None:
        """Builds the model from what the data look like."""
        data = data_of(self)
        self._take(self.model or MMGPVAE(data.spec, self.series, *self._given))
        data.attach({})

    def _take(self, model: MMGPVAE) -> None:
        self.model = model
        self._found = {split: Scores() for split in ("val", "test")}
        self._unseen = {split: UnseenSeries(model) for split in ("val", "test")}

    def on_fit_start(self) -> None:
        """Checks that what counts as counts is."""
        assert self.model is not None
        counted = [m for m, s in self.model.series.items() if s.likelihood == "poisson"]
        if not counted:
            return
        data = data_of(self)
        for batch in data.loader("train", missing=None):
            for m in counted:
                rows = batch.present_rows[m]
                if len(rows):
                    require_counts(m, batch.inputs[m][rows])  # type: ignore[index]

    # Steps.

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Modality dropout, on the CPU; bad rows are counted."""
        self._unreadable.add(batch.problems)
        if self.modality_dropout is None or not self.trainer.training:
            return batch
        return thinned(batch, self.modality_dropout, self.current_epoch)

    def teardown(self, stage: str) -> None:
        """Tells, once, which rows could not be read."""
        self._unreadable.tell()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``loss`` and its parts, means over rows and steps of the series."""
        model = self.model
        assert model is not None
        terms = {n: v.mean() / model.basis.steps for n, v in model.elbo(batch).items()}
        likely = [v for n, v in terms.items() if n != "kl"]
        return {"loss": terms["kl"] - torch.stack(likely).sum(), **terms}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; losses are summed on the device and logged once an epoch."""
        losses = self.losses(batch)
        self._losses.add(losses, len(batch))
        total = losses["loss"]
        if self.trainer.world_size > 1:
            total = total + self._nothing()
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores a validation batch."""
        self._score(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores a test batch."""
        self._score(batch, "test")

    def _score(self, batch: Batch, split: str) -> None:
        self._found[split].add(self.losses(batch), len(batch))
        self._unseen[split].add(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the test scores."""
        self._log_scores("test")

    def _log_scores(self, split: str) -> None:
        means = self._found[split].mean(f"{split}/")
        several = self.trainer.world_size > 1
        self.log_dict(means, prog_bar=split == "val", sync_dist=several)
        reduce = self.trainer.strategy.reduce if several else None
        found = self._unseen[split].compute(reduce)
        self.log_dict({f"{split}/{m}_r2_absent": v for m, v in found.items()}, sync_dist=False)

    # Latents.

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Row numbers, and the mean and deviation of each latent at each step, ``(B, T, L)``."""
        assert self.model is not None
        latents = self.model.infer(batch)
        return {
            "row": batch.index,
            "mean": latents.over_time,
            "deviation": latents.variance_over_time.sqrt(),
        }

    def frame(self, outputs: Iterable[Mapping[str, Tensor]]) -> pd.DataFrame:
        """What ``Trainer.predict`` returns as one table.

        Returns:
            ``row``, ``step``, and for each latent its mean, ``shared_0`` or ``<modality>_0`` and
            so on, and its deviation, ``shared_0_deviation``.
        """
        model = self.model
        assert model is not None
        batches = list(outputs)
        steps, columns = model.basis.steps, {}
        none = torch.empty(0, steps, model.latents)
        rows = torch.cat([b["row"] for b in batches] or [torch.empty(0, dtype=torch.long)]).cpu()
        columns["row"] = rows.repeat_interleave(steps).numpy()
        columns["step"] = torch.arange(steps).repeat(len(rows)).numpy()
        for part, end in (("mean", ""), ("deviation", "_deviation")):
            values = torch.cat([b[part] for b in batches] or [none]).flatten(0, 1).cpu().numpy()
            columns |= {name + end: values[:, i] for i, name in enumerate(model.names)}
        frame = pd.DataFrame(columns).drop_duplicates(["row", "step"])
        return frame.sort_values(["row", "step"], ignore_index=True)

    # Checkpoints: plain data only, so that they load without unpickling.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what ``MMGPVAE.load`` needs."""
        assert self.model is not None
        checkpoint["mmfuse"] = about() | {"gpvae": self.model.describe()}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the checkpoint's model, after checking that it is the same architecture.

        Raises:
            CheckpointError: the checkpoint is of another model, naming what differs.
        """
        found = checkpoint.get("mmfuse", {}).get("gpvae")
        if found is None:
            raise CheckpointError("The checkpoint holds no GPVAE. Give one of a GPVAETask.")
        if self.model is not None:
            mine = self.model.describe()
            if differing := _differing(found, mine):
                raise CheckpointError(
                    f"The checkpoint is of another model. {'; '.join(differing)}. Give the "
                    "configuration that the checkpoint was trained with."
                )
        self._take(MMGPVAE.rebuild(found).to(self.device))


def _differing(found: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """What differs but for the statistics of the training rows."""

    def bare(told: Mapping[str, Any]) -> dict[str, Any]:
        shapes = {m: list(s["shape"]) for m, s in told["spec"]["modalities"].items()}
        return {**told, "spec": shapes}

    return differing_parts(bare(found), bare(mine), ("checkpoint", "configuration"))
