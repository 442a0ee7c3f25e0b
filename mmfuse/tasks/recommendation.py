"""RecommendationTask: users, items and their modalities, trained to rank under Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import ModalityDropout
from mmfuse.model import FusionModel
from mmfuse.objectives import Objective, SupervisedLoss
from mmfuse.objectives.base import Term
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.objectives import BPRLoss, EmbeddingL2, RankingObjective
from mmfuse.recommend.objectives.base import require_negatives
from mmfuse.recommend.parts import item_parts
from mmfuse.recommend.propagation import GraphData, Propagation
from mmfuse.recommend.scores import DotScore, Score
from mmfuse.recommend.serving import Recommender
from mmfuse.recommend.users import Users, UserVectors
from mmfuse.recorded import describe, in_words, rebuild
from mmfuse.spec import ModalitySpec
from mmfuse.tasks.build import build_encoders, fused
from mmfuse.tasks.optimizer import adam
from mmfuse.tasks.ranked_task import RankedTask
from mmfuse.tasks.ranking_checkpoint import contents, model_in


class RecommendationTask(RankedTask):
    """Trains a recommender of interchangeable parts.

    Items are ids, or what encoders and any fusion make of their modalities, or both; a backbone
    passes vectors along graphs; objectives add up. The parts of named models stand in
    ``experiments/recommend/presets``.

    Validation ranks all items for each user that has something to find there, training pairs
    left out, and logs ``val/recall_at_20`` and so on (``ndcg``, ``precision``, ``map``, ``mrr``,
    ``hit_rate``, at each of ``ks``), and ``val/loss``, the BPR loss of the validation pairs against
    uniform negatives that stay the same. Test leaves validation pairs out too, and adds recall and
    NDCG for kinds of items, such as ``test/cold/recall_at_20``, and for cold items ranked among
    themselves (``test/cold_alone/recall_at_20``), what is shown besides accuracy
    (``test/coverage``, ``test/novelty``, ...), and ``per_user.parquet`` in the run's folder, which
    has every metric of every user and kind.

    Args:
        item: makes the items' vectors; ids by default, with content added where there are
            modalities and encoders are not None.
        user: makes the users' vectors; ids by default.
        backbone: passes them along graphs; None for matrix factorisation.
        encoders: for each modality of the items, as for ``SupervisedTask``. None takes the
            default of each kind.
        fusion: joins them, given in the same ways; ``MeanFusion`` by default.
        objectives: what training lowers the sum of; ``BPRLoss`` and ``EmbeddingL2`` by default.
            Objectives of other tasks, such as ``CLIPLoss``, see the batch's items as rows.
        score: of a pair; the dot product by default.
        ks: where rankings are measured. Recall at 20, or at the least of them where 20 is not
            among them, chooses the best checkpoint.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
        modality_dropout: rate with which an item loses each modality in training, drawn anew
            every epoch; it keeps at least one.
        dropout_seed: seed of those draws.
        explained: whether checkpoints hold what each modality adds to the items' vectors, which
            ``mmfuse recommend --explain`` tells. They grow by as many vectors as there are
            modalities and one more, and take 2^M passes over the items to save.

    Raises:
        ConfigError: no k, no objective or one that needs labels; explained scores of items that
            are ids alone, or that are no dot product; at set-up, parts that need modalities for
            items without.
    """

    def __init__(
        self,
        item: ItemVectors | None = None,
        user: Users | None = None,
        backbone: Propagation | None = None,
        encoders: dict[str, Callable[[ModalitySpec], Encoder]] | None = None,
        fusion: Callable[[dict[str, int]], Fusion] | None = None,
        objectives: list[Term] | None = None,
        score: Score | None = None,
        ks: list[int] | None = None,
        optimizer: OptimizerCallable = adam,
        scheduler: LRSchedulerCallable | None = None,
        modality_dropout: float = 0.0,
        dropout_seed: int = 0,
        explained: bool = False,
    ) -> None:
        terms = [BPRLoss(), EmbeddingL2()] if objectives is None else list(objectives)
        if not terms or any(isinstance(t, SupervisedLoss) for t in terms):
            raise ConfigError(
                f"objectives are {[type(t).__name__ for t in terms]}; expected ranking objectives, "
                "such as BPRLoss, and none that needs labels."
            )
        super().__init__(terms, optimizer, scheduler, ks)
        self._parts: dict[str, Any] = {
            "item": item or ItemVectors(),
            "user": user or UserVectors(),
            "backbone": backbone,
            "score": score,
        }
        if explained and (
            self._parts["item"].content == "none" or not isinstance(score, DotScore | None)
        ):
            raise ConfigError(
                "explained: there are parts to tell of where modalities enter the items' vectors "
                "and the score is the dot product. Set ItemVectors' content to concat or add, or "
                "leave explained out."
            )
        self.explained = explained
        self._encoders, self._fusion = encoders, "MeanFusion" if fusion is None else fusion
        self._dropout_arguments: dict[str, Any] = {
            "modality_dropout": modality_dropout,
            "dropout_seed": dropout_seed,
        }
        self._dropout = (
            ModalityDropout(modality_dropout, seed=dropout_seed) if modality_dropout else None
        )

    def settings(self) -> dict[str, Any]:
        """Everything the task was given, in plain data, for a record of the run."""
        parts = {n: None if p is None else describe(p) for n, p in self._parts.items()}
        return {
            **parts,
            "encoders": {m: in_words(e) for m, e in (self._encoders or {}).items()},
            "fusion": in_words(self._fusion),
            "objectives": [describe(o) for o in self.objectives],  # type: ignore[arg-type]
            "optimizer": in_words(self._optimizer),
            "scheduler": in_words(self._scheduler),
            "modality_dropout": describe(self._dropout) if self._dropout else None,
            "explained": self.explained,
        }

    def fresh(self) -> RecommendationTask:
        """An untrained task with the same settings."""
        parts: dict[str, Any] = {
            n: None if p is None else rebuild(describe(p)) for n, p in self._parts.items()
        }
        return RecommendationTask(
            **parts,
            encoders=self._encoders,
            fusion=self._fusion,  # type: ignore[arg-type]
            objectives=[rebuild(describe(o)) for o in self.objectives],  # type: ignore[arg-type]
            ks=list(self.ks),
            optimizer=self._optimizer,
            scheduler=self._scheduler,
            **self._dropout_arguments,
            explained=self.explained,
        )

    # Set-up.

    def setup(self, stage: str) -> None:
        """Builds the model from the training interactions and the items' modalities."""
        self._remembered.forget()
        data = self._data
        if stage == "fit":
            require_negatives(self.objectives, data.negatives)  # type: ignore[arg-type]
        if self.model is None:
            self.build(self.make_model(data))
        assert self.model is not None
        self._attach(data)

    def make_model(self, data: RecommendationData) -> RecommendationModel:
        """A fresh model for some data."""
        tower, features, present = None, {}, {}
        if data.spec is not None and data.catalogue is not None:
            encoders = build_encoders(data.spec, self._encoders)
            fusion = fused(self._fusion, {m: e.out_dim for m, e in encoders.items()})
            tower = FusionModel(data.spec, encoders, fusion, heads={})
            features = data.catalogue.features()
            columns = data.catalogue.presence("train").unbind(dim=1)
            present = dict(zip(data.catalogue.modalities, columns, strict=True))
        model = RecommendationModel(tower=tower, modality_dropout=self._dropout, **self._parts)
        train = data.interactions.lists("train")
        model.build(GraphData(train, features, present, data.seed))
        return model

    def build(self, model: RecommendationModel) -> None:
        """Takes ``model`` for its own and lets the objectives make what they need."""
        self.model = model
        for term in self.objectives:
            if isinstance(term, RankingObjective):
                term.build(model)
                continue
            assert isinstance(term, Objective)
            if model.tower is None:
                raise ConfigError(
                    f"{type(term).__name__} reads the items' modalities, and they have none. Give "
                    "RecommendationData items, or leave the objective out."
                )
            term.build(model.tower)

    def _attach(self, data: RecommendationData) -> None:
        assert self.model is not None
        if self.model.tower is not None:
            data.attach(self.model.tower.preprocess)
        self.model.attach(data.catalogue, data.interactions)
        data.remember(self.model.user.length)

    # Training.

    def on_train_batch_start(self, batch: RankingBatch, batch_idx: int) -> None:
        """Tells the model of a new epoch, for which it may draw a graph anew.

        Lightning tells of none where a run goes on in the middle of one.
        """
        assert self.model is not None
        self._remembered.forget()
        if self.model.epoch != self.current_epoch:
            self.model.start_epoch(self.current_epoch)

    def training_step(self, batch: RankingBatch, batch_idx: int) -> Tensor:
        """One step; losses are summed on the device and logged once an epoch."""
        model = self.model
        assert model is not None
        output = model(batch, self._reads_content, self._reads_drawn)
        named: dict[str, Tensor] = {}
        terms: list[Tensor] = []
        for term, factor in self._counting():
            if isinstance(term, RankingObjective):
                losses = term(model, batch, output)
            else:
                content = output.content
                losses = term(model.tower, content.batch, content.tokens, content.output)
            for name, value in losses.items():
                named[f"{type(term).__name__}/{name}"] = value
                terms.append(factor * value)
        if output.content is not None:
            for name, value in output.content.output.fused.losses.items():
                named[f"{type(model.tower.fusion).__name__}/{name}"] = value  # type: ignore[union-attr]
                terms.append(value)
        if not terms or self.trainer.world_size > 1:
            # Processes wait for each other's gradients of everything that learns.
            terms.append(self._nothing())
        total = sum(terms[1:], terms[0])
        self._losses.add({"loss": total, **named}, len(batch))
        return total

    @property
    def _reads_content(self) -> bool:
        """Whether a term looks at the batch's items through their modalities."""
        return any(getattr(t, "reads_content", True) for t, _ in self._counting())

    @property
    def _reads_drawn(self) -> bool:
        """Whether one of them looks at drawn items too."""
        readers = [t for t, _ in self._counting() if getattr(t, "reads_content", True)]
        return any(getattr(t, "reads_drawn", True) for t in readers)

    # Checkpoints: plain data only, so that they load without unpickling.

    def recommender(self) -> Recommender:
        """What serves: the final vectors of all, raw ids, and what users took in training."""
        assert self.model is not None
        model, vectors, parts = self.model, self._vectors(), None
        if self.explained:
            parts = self._remembered.of(model, "parts", lambda: item_parts(model))
            parts = {name: part.cpu() for name, part in parts.items()}
        interactions = self._data.interactions
        return Recommender(
            vectors.users.cpu(),
            vectors.items.cpu(),
            interactions.lists("train"),
            interactions.user_ids,
            interactions.item_ids,
            model.score,
            parts,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the model, and what ``Recommender.load`` needs."""
        assert self.model is not None
        checkpoint |= contents(self.model, self.objectives, self.recommender())

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the checkpoint's model, after checking that it is the same architecture.

        Raises:
            CheckpointError: the checkpoint is of another model, naming what differs.
        """
        self.build(model_in(checkpoint, self.model).to(self.device))
        if self._trainer is not None:
            self._attach(self._data)
