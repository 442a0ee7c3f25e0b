"""DistillationTask: a student of few modalities learns from frozen teachers of more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from mmfuse.batch import Batch
from mmfuse.checkpoint import whole
from mmfuse.data import FusionDataModule
from mmfuse.distillation import Distillation, Lesson, Said, SoftTargets, Team
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel
from mmfuse.objectives import Objective
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import DataSpec, ModalitySpec
from mmfuse.tasks.base import Step
from mmfuse.tasks.optimizer import adamw
from mmfuse.tasks.start import take_weights
from mmfuse.tasks.supervised import SupervisedTask
from mmfuse.tasks.teams import data_of, joint_spec, narrowed, preprocess_of, require_common_rows


class DistillationTask(SupervisedTask):
    """Trains a student on the task and on what teachers say of the same rows.

    The student reads the modalities that ``encoders`` names. The data hold what the teachers read
    too, in training: in validation and test the student alone runs, the losses there are the
    task's alone, and its checkpoint is that of a plain model, which needs neither teachers nor
    their modalities. Teachers come from a checkpoint, frozen and in eval mode, and are not saved
    again. Rows of which no teacher can tell more train by the task's loss.

    With ``SoftTargets`` this is plain knowledge distillation. MST-Distill's third stage is a
    routed term and the checkpoint of ``SpecialisationTask``, with whose student it goes on where
    ``start_from`` names that checkpoint too; docs/distillation.md has all three stages in a file.

    Args:
        teacher: a checkpoint. Any FusionModel serves; one of ``SpecialisationTask`` brings the
            pool of teachers that routed terms choose from, one of ``CoTrainingTask`` its teacher
            and auxiliary.
        encoders: the student's, for each modality that it reads.
        fusion: the student's; ``SequentialFusion`` by default, which for one modality is a
            perceptron over what its encoder gives.
        distillation: what the student learns from teachers; ``SoftTargets`` by default.
        objectives: the student's own losses, added to ``SupervisedLoss``.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.

    Raises:
        ConfigError: no term of distillation; at set-up, a teacher of other classes, a term that
            cannot serve, or encoders that want a modality prepared in different ways.
        MissingFileError, CheckpointError: at set-up for training, there is no such checkpoint.
        UnknownModalityError, DataError: at set-up, the data lack a modality that somebody reads,
            or rows from which the student could learn.

    Reference: "MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge
        Distillation", ACM MM 2025, arXiv:2507.07015, for the third stage; see the terms.
    """

    def __init__(
        self,
        teacher: str,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]],
        fusion: Callable[[dict[str, int]], Fusion] | None = None,
        distillation: list[Distillation] | None = None,
        objectives: list[Objective] | None = None,
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(encoders, fusion, objectives, optimizer, scheduler)
        terms = [SoftTargets()] if distillation is None else list(distillation)
        if not terms:
            raise ConfigError(
                "DistillationTask: distillation is empty. Name a term such as SoftTargets, or take "
                "SupervisedTask with data of the student's modalities (only)."
            )
        self.teacher = teacher
        self.distillation = nn.ModuleList(terms)
        # Not registered: teachers are no part of what is trained, counted and saved.
        self._team: list[Team] = []

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        terms = [describe(t) for t in self._distillations]
        return super().settings() | {"teacher": str(self.teacher), "distillation": terms}

    def fresh(self, fusion: Any = None) -> DistillationTask:
        """An untrained task with the same settings and, if given, another fusion."""
        assert self._encoders is not None
        return DistillationTask(
            self.teacher,
            self._encoders,
            self._fusion if fusion is None else fusion,
            [rebuild(describe(t)) for t in self._distillations],
            [rebuild(describe(o)) for o in self._terms],
            self._optimizer,
            self._scheduler,
        )

    @property
    def _distillations(self) -> list[Distillation]:
        return cast(list[Distillation], list(self.distillation))

    # Set-up.

    def setup(self, stage: str) -> None:
        """Builds the student; for training, reads the teachers and brings both to the data."""
        data = data_of(self)
        if stage != "fit":
            if not self._team:
                data.adopt(narrowed(data.spec, self._reads, "The student"))
            super().setup(stage)
            return
        self._meet(data)
        super().setup(stage)
        assert self.model is not None
        team = self._team[0]
        require_common_rows(data, team, self.model)
        data.attach(preprocess_of([self.model, *team.teachers.values()]))

    @property
    def _reads(self) -> list[str]:
        return list(self._encoders or {})

    def _meet(self, data: FusionDataModule) -> Team:
        if not self._team:
            # What teachers draw for their first weights is not to move the student's.
            with torch.random.fork_rng(devices=[]):
                self._team = [Team.read(self.teacher)]
            data.adopt(joint_spec(data.spec, self._team[0], self._reads))
        return self._team[0]

    def make_model(self, spec: DataSpec, cached: Mapping[str, str]) -> FusionModel:
        """A fresh student, of its own modalities alone."""
        own = narrowed(spec, self._reads, "The student")
        return super().make_model(own, {m: f for m, f in cached.items() if m in own.modalities})

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` as the student; terms of distillation make what they need."""
        super().build(model)
        with torch.random.fork_rng(devices=[]):
            for team in self._team:
                for term in self._distillations:
                    term.build(model, team)

    def start_from(self, source: FusionModel | str | Path, data: FusionDataModule) -> list[str]:
        """Takes the weights of a student that was trained before: alone, or in a team.

        Args:
            source: the model, or the path of its checkpoint; of a team its student is meant.
            data: what to train on next, with the teachers' modalities.

        Returns:
            the targets whose heads start afresh: none.

        Raises:
            MissingFileError, CheckpointError: there is no checkpoint, or it is of other encoders
                or of another fusion, naming what differs.
        """
        if isinstance(source, FusionModel):
            found, name = source, "The model"
        else:
            team = Team.read(source)
            found, name = team.student or team.teacher, str(source)
        self._meet(data)
        model = self.make_model(data.spec, data.cached)
        take_weights(model, whole(found), [], name)
        self.build(model)
        return []

    def on_fit_start(self) -> None:
        """Takes the teachers to where the student is."""
        self._team[0].to(self.device)

    # Steps.

    def losses(self, batch: Batch) -> Step:
        """The task's losses; in training what teachers say of the rows besides."""
        model = self.model
        assert model is not None
        own = batch.only(model.modalities)
        step = super().losses(own)
        if not self.training:
            return step
        teacher, pool = self._team[0].say(batch, model)
        seen = own.present.any(dim=1)
        lesson = Lesson(Said.of(step.tokens, step.output, seen), teacher, pool)
        named, total = dict(step.named), step.total
        progress = min(self.global_step / self.trainer.estimated_stepping_batches, 1.0)
        for term in self._distillations:
            if factor := term.factor(progress):
                for name, value in term(lesson).items():
                    named[f"{type(term).__name__}/{name}"] = value
                    total = total + factor * value
        return Step(total, named, step.tokens, step.output)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Row numbers, and for each target probabilities or values; of the student."""
        return super().predict_step(batch.only(self._reads), batch_idx)

    # Checkpoints: the student's, and what terms have learned.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what ``mmfuse.load`` needs to build the student anew."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["mmfuse"]["distillation"] = [describe(t) for t in self._distillations]

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the checkpoint's student; without teachers, what terms have learned is left out.

        Raises:
            CheckpointError: the checkpoint is of another model, naming what differs.
        """
        super().on_load_checkpoint(checkpoint)
        if not self._team:
            state = checkpoint["state_dict"]
            for name in [k for k in state if k.startswith("distillation.")]:
                del state[name]
