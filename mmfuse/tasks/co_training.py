"""CoTrainingTask: a multimodal teacher and models of fewer modalities, trained side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.checkpoint import differences
from mmfuse.distillation.said import can_tell
from mmfuse.distillation.soft import divergence, require_soft, require_temperature
from mmfuse.distillation.team import describe_team
from mmfuse.encoder import Encoder
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel, Output
from mmfuse.objectives import Objective, SupervisedLoss
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.recorded import describe, in_words, rebuild
from mmfuse.spec import ModalitySpec
from mmfuse.tasks.base import Step
from mmfuse.tasks.build import build_model
from mmfuse.tasks.optimizer import adamw
from mmfuse.tasks.scores import Scores
from mmfuse.tasks.supervised import SupervisedTask
from mmfuse.tasks.teams import narrowed, preprocess_of


@dataclass(frozen=True)
class Peer:
    """A model of some of the modalities, trained beside the one of all.

    Args:
        modalities: what it reads.
        encoders: as in ``SupervisedTask``, for these modalities; None takes the default of each.
        fusion: likewise; ``SequentialFusion`` by default, which for one modality is a perceptron
            over what its encoder gives.
    """

    modalities: list[str]
    encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None = None
    fusion: Callable[[dict[str, int]], Fusion] | None = None


class CoTrainingTask(SupervisedTask):
    """MST-Distill's first stage: teacher, student and auxiliary learn together, and mutually.

    Each learns the task, and from what each of the others says of a row. With KL_T the divergence
    of ``SoftTargets`` and n the models::

        L = sum_n CE_n  +  mutual * sum_{n != o} mean_{rows that count} KL_T( o || n )

    whose gradient reaches both sides. A row counts for two models that both see some of it and
    not the same of it; where a row lacks what the others read, the task alone trains a model.

    The model of the task is the teacher: its scores are logged as usual, those of a peer as
    ``val/student/accuracy``. The checkpoint holds all: ``mmfuse.load`` gives the teacher,
    ``mmfuse.distillation.Team.read`` the others too.

    Args:
        student: the model that is wanted in the end.
        auxiliary: a model of other modalities that helps to teach; None for none.
        encoders: the teacher's, as in ``SupervisedTask``.
        fusion: the teacher's.
        objectives: the teacher's, besides ``SupervisedLoss``; a peer has that one alone.
        temperature: of what models say to each other.
        mutual: factor of the mutual terms; 0 trains each by itself.
        optimizer: makes the optimizer from the parameters of all.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.

    Raises:
        ConfigError: a temperature or factor outside its range; at set-up, a survival target, or
            models that want a modality prepared in different ways.
        UnknownModalityError: at set-up, a peer of modalities that the data lack.

    Reference: "MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge
        Distillation", ACM MM 2025, arXiv:2507.07015; for two models Zhang et al., "Deep Mutual
        Learning", CVPR 2018, arXiv:1706.00384.

    Departs from the authors' code: any number of modalities; rows that lack some.
    """

    def __init__(
        self,
        student: Peer,
        auxiliary: Peer | None = None,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None = None,
        fusion: Callable[[dict[str, int]], Fusion] | None = None,
        objectives: list[Objective] | None = None,
        temperature: float = 4.0,
        mutual: float = 1.0,
        optimizer: OptimizerCallable = adamw,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(encoders, fusion, objectives, optimizer, scheduler)
        require_temperature(type(self).__name__, temperature)
        if not 0 <= mutual < float("inf"):
            raise ConfigError(
                f"CoTrainingTask: mutual is {mutual}; expected a finite number of 0 or more."
            )
        self.temperature, self.mutual = temperature, mutual
        self._peers = {"student": student}
        if auxiliary is not None:
            self._peers["auxiliary"] = auxiliary

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        peers = {
            name: {
                "modalities": list(p.modalities),
                "encoders": {m: in_words(e) for m, e in (p.encoders or {}).items()},
                "fusion": in_words(p.fusion),
            }
            for name, p in self._peers.items()
        }
        own = {"temperature": self.temperature, "mutual": self.mutual}
        return super().settings() | {"peers": peers, **own}

    def fresh(self, fusion: Any = None) -> CoTrainingTask:
        """An untrained task with the same settings and, if given, another fusion."""
        return CoTrainingTask(
            self._peers["student"],
            self._peers.get("auxiliary"),
            self._encoders,
            self._fusion if fusion is None else fusion,
            [rebuild(describe(o)) for o in self._terms],
            self.temperature,
            self.mutual,
            self._optimizer,
            self._scheduler,
        )

    # Set-up.

    def setup(self, stage: str) -> None:
        """Builds all models, and gives the data a preprocessing that serves them."""
        super().setup(stage)
        models = cast(list[FusionModel], [self.model, *self.peers.values()])
        self.trainer.datamodule.attach(preprocess_of(models))  # type: ignore[attr-defined]

    def build(self, model: FusionModel) -> None:
        """Takes ``model`` as the teacher and builds its peers for the same data."""
        for name, target in model.spec.targets.items():
            require_soft(type(self).__name__, name, target)
        peers, losses = {}, {}
        for name, peer in self._peers.items():
            spec = narrowed(model.spec, peer.modalities, f"The {name}")
            fusion: Any = "SequentialFusion" if peer.fusion is None else peer.fusion
            peers[name] = build_model(spec, peer.encoders, fusion)
            losses[name] = SupervisedLoss()
            losses[name].build(peers[name])
        self.peers, self.peer_losses = nn.ModuleDict(peers), nn.ModuleDict(losses)
        super().build(model)

    def prepare_scores(self, model: FusionModel) -> None:
        """Metrics of every target, of every model."""
        super().prepare_scores(model)
        self._peer_metrics = {
            (split, n): Scores.metrics(model.spec, f"{split}/{n}")
            for split in ("val", "test")
            for n in self._peers
        }

    # Steps.

    def losses(self, batch: Batch) -> Step:
        """Every loss of a batch, of every model, and their weighted sum."""
        return self._together(batch)[0]

    def _together(self, batch: Batch) -> tuple[Step, dict[str, tuple[Output, Tensor]]]:
        step = super().losses(batch)
        assert self.model is not None
        named, total = dict(step.named), step.total
        said = {"teacher": (self.model, step.output)}
        found: dict[str, tuple[Output, Tensor]] = {}
        for name, module in self.peers.items():
            peer, own = cast(FusionModel, module), batch.only(module.modalities)  # type: ignore[arg-type]
            present, tokens = peer.present(own), peer.encode(own)
            output = peer.read(peer.fuse(tokens, present), present)
            losses = self.peer_losses[name](peer, own, tokens, output)
            named |= {f"{name}/{t}": v for t, v in losses.items()}
            named |= {f"{name}/{n}": v for n, v in output.fused.losses.items()}
            mine = [*losses.values(), *output.fused.losses.values()]
            loss = torch.stack(mine).sum()
            total = total + loss
            said[name] = (peer, output)
            found[name] = (output, loss)
        if self.mutual:
            named["mutual"] = self._mutual(batch, said)
            total = total + self.mutual * named["mutual"]
        return Step(total, named, step.tokens, step.output), found

    def _mutual(self, batch: Batch, said: Mapping[str, tuple[FusionModel, Output]]) -> Tensor:
        terms = []
        for (model, output), (other, told) in itertools.permutations(said.values(), 2):
            counted = can_tell(batch, other.modalities, model.modalities)
            each = [
                divergence(spec, told.logits[t], output.logits[t], self.temperature)
                for t, spec in model.spec.targets.items()
            ]
            apart = torch.stack(each).mean(dim=0)
            terms.append(weighted_mean(apart, counted.to(apart.dtype)))
        return torch.stack(terms).sum()

    def _score(self, batch: Batch, split: str) -> None:
        step, found = self._together(batch)
        self._metrics[split].update(step.output, batch, step.total)
        for name, (output, loss) in found.items():
            self._peer_metrics[split, name].update(output, batch, loss)

    def _log_scores(self, split: str) -> None:
        super()._log_scores(split)
        for (of, _), metrics in self._peer_metrics.items():
            if of == split:
                self.log_dict(metrics.compute(self.device), sync_dist=False)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds all models."""
        super().on_save_checkpoint(checkpoint)
        peers = {n: cast(FusionModel, p) for n, p in self.peers.items()}
        checkpoint["mmfuse"]["team"] = describe_team(peers, [])

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the checkpoint's models, after checking that they are of the same architecture.

        Raises:
            CheckpointError: the checkpoint is of other models, naming what differs.
        """
        super().on_load_checkpoint(checkpoint)
        self.peers.to(self.device)
        require_same_peers(self.peers, checkpoint)


def require_same_peers(peers: nn.ModuleDict, checkpoint: Mapping[str, Any]) -> None:
    """Checks that a checkpoint is of the same peers.

    Raises:
        CheckpointError: it has others, or none.
    """
    found = checkpoint["mmfuse"].get("team", {}).get("peers", {})
    names = ("checkpoint", "configuration")
    if set(found) != set(peers):
        raise CheckpointError(
            f"The checkpoint holds the peers {sorted(found)}, the configuration has "
            f"{sorted(peers)}. Give the configuration that the checkpoint was trained with."
        )
    for name, module in peers.items():
        mine = cast(FusionModel, module).describe()
        if differing := differences(found[name], mine, names):
            raise CheckpointError(
                f"The checkpoint is of another {name}. {'; '.join(differing)}. Give the "
                "configuration that the checkpoint was trained with."
            )
