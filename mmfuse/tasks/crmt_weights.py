"""CRMT's step 2: the weights of the modalities alone are trained, for a larger radius."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel, Output
from mmfuse.objectives import SupervisedLoss
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.attacks.strike import class_target
from mmfuse.robustness.radius import smallest_radius
from mmfuse.robustness.steepness import (
    class_weights,
    crmt_head,
    proven_gram,
    squared_steepness,
    steepness_alone,
    summed_gram,
)
from mmfuse.spec import ModalitySpec
from mmfuse.tasks.base import Step
from mmfuse.tasks.optimizer import adamw
from mmfuse.tasks.supervised import SupervisedTask


class CRMTWeightsTask(SupervisedTask):
    """Trains the weights of a ``CRMTFusion`` alone, so that radii grow (CRMT, step 2).

    It is a stage of its own, which starts from the checkpoint of step 1: docs/attacks.md has both
    in one file. Encoders, class rows and bias stay as they are, in eval mode, and so do the
    statistics that they keep. With r(x) the certified radius of the labelled class, negative for a
    mistake::

        L = - mean_rows min( r(x), cap )

    Without the cap the mean grows by rows that are safe anyway, at the cost of hard ones. Where an
    encoder has no proven Lipschitz bound, radii are estimated from the largest gradients of each
    class's score among the training rows, found once before the stage begins; of several
    processes from the rows of all. While it trains ``val/loss`` is the same loss of the validation
    rows, so that the best checkpoint has the largest radii; in test it is ``SupervisedLoss``.

    Args:
        encoders: as in ``SupervisedTask``; those of step 1.
        fusion: ``CRMTFusion`` with the options of step 1.
        optimizer: makes the optimizer from the weights. The authors take 0.03 times the rate of
            step 1.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
        cap: what a row's radius counts at most; None is the mean of the training rows' positive
            radii before the stage, which its checkpoints keep.
        target: whose classes; None where one target alone has classes.

    Raises:
        ConfigError: a cap that is not above 0; at set-up, another fusion or no target with
            classes; when a fit starts, a model that has learned nothing yet.

    Reference: Yang, Wei et al., "Quantifying and Enhancing Multi-modal Robustness with Modality
        Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the authors' code: radii are capped and weights have a floor; nothing is in
    training mode; the bound does not hold the weights twice; no weight decay unless asked for.
    """

    def __init__(
        self,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None = None,
        fusion: Callable[[dict[str, int]], Fusion] | None = None,
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
        cap: float | None = None,
        target: str | None = None,
    ) -> None:
        chosen = "CRMTFusion" if fusion is None else fusion
        super().__init__(encoders, chosen, [SupervisedLoss()], optimizer, scheduler)  # type: ignore[arg-type]
        if cap is not None and not cap > 0:
            raise ConfigError(f"CRMTWeightsTask: cap is {cap}; expected a radius above 0.")
        self.cap, self.of_target = cap, target
        self._gram: Tensor | None = None
        self._found_cap: float | None = None
        self._kept: Mapping[str, Any] | None = None
        self._is_begun = False

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        return super().settings() | {"cap": self.cap, "target": self.of_target}

    def fresh(self, fusion: Any = None) -> CRMTWeightsTask:
        """An untrained task with the same settings and, if given, another fusion."""
        return CRMTWeightsTask(
            self._encoders,
            self._fusion if fusion is None else fusion,
            self._optimizer,
            self._scheduler,
            self.cap,
            self.of_target,
        )

    def setup(self, stage: str) -> None:
        """Builds the model unless it has one, and gives the data the preprocessing."""
        self._is_begun = self.model is not None
        super().setup(stage)

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` for its own; nothing but its weights learns from now on."""
        super().build(model)
        self._name = class_target(model, self.of_target)
        head = crmt_head(model, self._name)
        model.requires_grad_(False)
        head.raw_weights.requires_grad_(True)
        model.eval()

    def train(self, mode: bool = True) -> CRMTWeightsTask:
        """The model stays in eval mode."""
        super().train(mode)
        if self.model is not None:
            self.model.eval()
        return self

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Finds the bounds, and the cap if there is none, from the training rows.

        Raises:
            ConfigError: the model has learned nothing yet.
        """
        model = self.model
        assert model is not None
        if not self._is_begun:
            raise ConfigError(
                "CRMTWeightsTask trains nothing but the weights of a model that is trained "
                "already. Give the checkpoint of step 1 as start_from."
            )
        if self._kept is not None:  # a run that goes on is bounded as it was when it began
            self._gram = self._kept["gram"].to(self.device)
            self._found_cap, self._kept = self._kept["cap"], None
            return
        if all(cast(Encoder, e).lipschitz is not None for e in model.encoders.values()):
            self._gram = proven_gram(model, self._name)
        else:
            steep = steepness_alone(model, self._training_rows(), self._name)
            self._gram = summed_gram(self._of_all_processes(steep, "max"))
        self._found_cap = self._mean_radius(model) if self.cap is None else self.cap

    def _mean_radius(self, model: FusionModel) -> float:
        """The mean of all training rows' positive radii."""
        total = torch.zeros(2, device=self.device)
        for batch in self._training_rows():
            found = self._radii(model, batch, model(batch))
            found = found[found.isfinite() & (found > 0)]
            total += torch.stack([found.sum(), found.new_tensor(len(found))])
        length, count = self._of_all_processes(total, "sum").tolist()
        return length / count if count else math.inf

    def _training_rows(self) -> Iterator[Batch]:
        """This process's part of the training rows."""
        data: FusionDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return (batch.to(self.device) for batch in data.loader("train"))

    def _of_all_processes(self, value: Tensor, how: str) -> Tensor:
        return cast(Tensor, self.trainer.strategy.reduce(value, reduce_op=how))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the bounds and the cap, which a run that goes on could not find again."""
        super().on_save_checkpoint(checkpoint)
        if self._gram is not None:
            checkpoint["crmt_weights"] = {"gram": self._gram, "cap": self._found_cap}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the checkpoint's model; to go on, its bounds and cap too.

        Raises:
            CheckpointError: the checkpoint is of another model, naming what differs.
        """
        super().on_load_checkpoint(checkpoint)
        self._is_begun = True
        if self.trainer.state.fn == "fit":
            self._kept = checkpoint.get("crmt_weights")

    def losses(self, batch: Batch) -> Step:
        """While it trains minus the mean capped radius; else what ``SupervisedTask`` says."""
        model = self.model
        assert model is not None
        if self._gram is None or self.trainer.state.fn != "fit":
            return super().losses(batch)
        present = model.present(batch)
        tokens = model.encode(batch)
        output = model.read(model.fuse(tokens, present), present)
        found = self._radii(model, batch, output)
        assert self._found_cap is not None
        total = -found.clamp(max=self._found_cap).mean() if len(found) else self._nothing()
        return Step(total, {"radius": -total.detach()}, tokens, output)

    def _radii(self, model: FusionModel, batch: Batch, output: Output) -> Tensor:
        """The radius of the label of each row that has one and a modality."""
        label = targets_of(batch, model)[self._name]
        present = model.present(batch)
        scores = model.spec.targets[self._name].class_scores(output.logits[self._name])
        assert self._gram is not None
        squared = squared_steepness(self._gram, class_weights(model, self._name))
        counted = (label >= 0) & present.any(dim=1)
        return smallest_radius(scores[counted], label[counted], squared, present[counted])
