"""SpecialisationTask: masks inside frozen teachers, each of which makes another teacher of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.checkpoint import require_same_model
from mmfuse.distillation.masks import Mask
from mmfuse.distillation.said import FUSED, can_tell, require_vector, say, widths_of
from mmfuse.distillation.soft import divergence, require_temperature
from mmfuse.distillation.team import Team, describe_team
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.model import FusionModel
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.recorded import in_words
from mmfuse.tasks.base import FusionTask, Step
from mmfuse.tasks.co_training import require_same_peers
from mmfuse.tasks.optimizer import adamw
from mmfuse.tasks.scores import Scores
from mmfuse.tasks.teams import data_of, joint_spec, preprocess_of, require_common_rows


class SpecialisationTask(FusionTask):
    """MST-Distill's second stage: masks are trained so that teachers speak as the student can.

    All models of a co-trained team are frozen. Each site gets a ``Mask`` of its own, which makes
    one specialised teacher of teacher or auxiliary, and is trained by what that one says::

        L = sum_masks mean_{rows that count} KL_T( teacher with the mask || student )

    One mask acts at a time, and no mask's gradient knows of another, so that they are trained
    side by side as each would be alone; only clipping by a joint norm would tie them.

    The checkpoint holds the team and its masks: it is all that the third stage needs.

    Args:
        team: the checkpoint of ``CoTrainingTask``.
        sites: for ``teacher`` and ``auxiliary`` the vectors that get a mask each, a modality's
            name or ``fused``; by default all of both. A late fusion's ``fused`` says nothing.
        bottleneck: width inside each mask.
        temperature: of the divergence, as in ``SoftTargets``.
        optimizer: makes the optimizer from the masks' parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.

    Raises:
        ConfigError: an option outside its range; at set-up, a team without a student, a site that
            is none, or a teacher of other classes than the data's.
        MissingFileError, CheckpointError: at set-up, there is no such checkpoint.
        UnknownModalityError, DataError: at set-up, the data lack a modality that the team reads,
            or rows from which the student could learn.

    Reference: "MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge
        Distillation", ACM MM 2025, arXiv:2507.07015.

    Departs from the authors' code: as ``Mask``; the epoch with the lowest divergence of
    validation rows summed over masks counts, where theirs chooses for each mask; sites are
    vectors of encoders and fusion, where theirs are any layers.
    """

    def __init__(
        self,
        team: str,
        sites: dict[str, list[str]] | None = None,
        bottleneck: int = 16,
        temperature: float = 4.0,
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(None, cast(Any, "ConcatFusion"), [], optimizer, scheduler, 0.0, 0)
        require_temperature(type(self).__name__, temperature)
        self.team, self.sites, self.bottleneck = team, sites, bottleneck
        self.temperature = temperature

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        return {
            "team": str(self.team),
            "sites": self.sites,
            "bottleneck": self.bottleneck,
            "temperature": self.temperature,
            "optimizer": in_words(self._optimizer),
            "scheduler": in_words(self._scheduler),
        }

    # Set-up.

    def setup(self, stage: str) -> None:
        """Reads the team, makes its masks, and brings it together with the data."""
        data = data_of(self)
        if self.model is None:
            team = Team.read(self.team)
            if team.student is None:
                raise ConfigError(
                    f"{self.team} holds no student, for whom teachers could specialise. Give the "
                    "checkpoint of a CoTrainingTask."
                )
            data.adopt(joint_spec(data.spec, team, team.student.modalities))
            peers = {"student": team.student, "auxiliary": team.auxiliary}
            self.peers = nn.ModuleDict({n: p for n, p in peers.items() if p is not None})
            self.masks = nn.ModuleList(self._masks(team))
            self.build(team.teacher)
        assert self.model is not None
        if stage == "fit":
            require_common_rows(data, self._team, self._student)
        self.prepare_scores(self.model)
        data.attach(preprocess_of(self._models))

    @property
    def _student(self) -> FusionModel:
        return cast(FusionModel, self.peers["student"])

    @property
    def _models(self) -> list[FusionModel]:
        return cast(list[FusionModel], [self.model, *self.peers.values()])

    @property
    def _team(self) -> Team:
        peers = cast(dict[str, FusionModel], dict(self.peers.items()))
        assert self.model is not None
        return Team(self.model, peers.get("auxiliary"), peers["student"], self._all_masks)

    @property
    def _all_masks(self) -> list[Mask]:
        return cast(list[Mask], list(self.masks))

    def _masks(self, team: Team) -> list[Mask]:
        sites = self.sites or {
            n: [*t.modalities, *([] if t.fusion.is_late else [FUSED])]
            for n, t in team.teachers.items()
        }
        masks = []
        for name, chosen in sites.items():
            if name not in team.teachers:
                raise ConfigError(
                    f"SpecialisationTask: sites names {name!r}; the team has {list(team.teachers)}."
                )
            model = team.teachers[name]
            for site in chosen:
                require_vector("SpecialisationTask", site, name, model)
                if site == FUSED and model.fusion.is_late:
                    raise ConfigError(
                        f"SpecialisationTask: the {name}'s {type(model.fusion).__name__} reads "
                        "each modality's vote, not its fused vector. Mask modalities."
                    )
                masks.append(Mask(name, site, widths_of(model)[site], self.bottleneck))
        return masks

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` as the teacher; nothing but masks learns."""
        self.model = model
        for frozen in self._models:
            frozen.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> SpecialisationTask:
        """The models stay in eval mode."""
        super().train(mode)
        if self.model is not None:
            for model in self._models:
                model.eval()
        return self

    def prepare_scores(self, model: FusionModel) -> None:
        """Divergences are gathered over a whole split."""
        self._found = {split: Scores() for split in ("val", "test")}

    # Steps.

    def losses(self, batch: Batch) -> Step:
        """The divergence of each specialised teacher from the student, and their sum."""
        student = self._student
        own = batch.only(student.modalities)
        with torch.no_grad():
            said = student(own).logits
        named: dict[str, Tensor] = {}
        for name, teacher in self._team.teachers.items():
            masks = [m for m in self._all_masks if m.of == name]
            counted = can_tell(batch, teacher.modalities, student.modalities)
            for mask, special in zip(masks, say(teacher, batch, masks, counted)[1:], strict=True):
                each = [
                    divergence(spec, special.logits[t], said[t], self.temperature)
                    for t, spec in student.spec.targets.items()
                ]
                apart = torch.stack(each).mean(dim=0)
                named[mask.name] = weighted_mean(apart, counted.to(apart.dtype))
        total = torch.stack(list(named.values())).sum()
        return Step(total, named, {}, cast(Any, None))

    def _score(self, batch: Batch, split: str) -> None:
        step = self.losses(batch)
        self._found[split].add({"loss": step.total, **step.named}, len(batch))

    def _log_scores(self, split: str) -> None:
        means = self._found[split].mean(f"{split}/")
        self.log_dict(means, sync_dist=self.trainer.world_size > 1)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the team and its masks."""
        super().on_save_checkpoint(checkpoint)
        peers = cast(dict[str, FusionModel], dict(self.peers.items()))
        checkpoint["mmfuse"]["team"] = describe_team(peers, self._all_masks)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Checks that the checkpoint is of the same team and masks.

        Raises:
            CheckpointError: it is of others, naming what differs.
        """
        assert self.model is not None
        require_same_model(self.model, checkpoint)
        require_same_peers(self.peers, checkpoint)
        found = checkpoint["mmfuse"]["team"]["masks"]
        mine = [m.describe() for m in self._all_masks]
        if found != mine:
            raise CheckpointError(
                f"The checkpoint has the masks {found}, the configuration {mine}. Give the sites "
                "and the bottleneck that it was trained with."
            )
