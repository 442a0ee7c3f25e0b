"""The fits of one test part and seed: teachers, teams, and students distilled in seven ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from setting import Rows, Setting
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.optim.lr_scheduler import CosineAnnealingLR

import mmfuse
from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.distillation import (
    Distillation,
    FeatureDistillation,
    HardRoutedDistillation,
    RelationalDistillation,
    SoftTargets,
    WeightedRoutedDistillation,
)
from mmfuse.tasks import CoTrainingTask, DistillationTask, Peer, SpecialisationTask

FUSION = {"class_path": "ConcatFusion", "init_args": {"out_dim": 64, "hidden": 64}}
ALONE, LONGER, CONTROL = "alone", "alone, longer", "co-trained, soft targets"


@dataclass(frozen=True)
class Way:
    """How a student is distilled.

    Args:
        term: makes the term of distillation, of a weight and the student's modality.
        is_team: the teacher is of a co-trained and specialised team, and the student starts from
            that team's; else a teacher trained alone, and a fresh student.
    """

    term: Callable[[float, str], Distillation]
    is_team: bool = False


#: Each way of distilling; of the hint the student's own encoder approaches the fused vector.
WAYS: Mapping[str, Way] = {
    "soft targets": Way(lambda w, _: SoftTargets(w)),
    "features": Way(lambda w, m: FeatureDistillation(w, student=m)),
    "relations": Way(lambda w, _: RelationalDistillation(w)),
    CONTROL: Way(lambda w, _: SoftTargets(w), is_team=True),
    "MST-Distill, hard router": Way(lambda w, _: HardRoutedDistillation(w), is_team=True),
    "MST-Distill, weighted router": Way(lambda w, _: WeightedRoutedDistillation(w), is_team=True),
}


class Study:
    """One test part and one seed of a set.

    Args:
        setting: of the set.
        test: the part that tests.
        seed: of validation rows, weights and batches.
        folder: of checkpoints; a fit whose checkpoint is there is not run again.
    """

    def __init__(self, setting: Setting, test: Any, seed: int, folder: Path) -> None:
        self.setting, self.test, self.seed = setting, test, seed
        self.folder = folder / setting.name / f"{test}, seed {seed}"

    @cached_property
    def rows(self) -> Rows:
        """The rows that are used, with their splits."""
        found = self.setting.rows(self.test, self.seed)
        used = found.split != ""
        inputs = {m: x[used] for m, x in found.inputs.items()}
        return Rows(inputs, found.label[used], found.split[used])

    def data(self, *modalities: str) -> ArrayData:
        """The rows of some modalities."""
        return ArrayData(
            {m: self.rows.inputs[m] for m in modalities},
            self.rows.label,
            target_kinds={"y": "multiclass"},
            split=self.rows.split,
            seed=self.seed,
            batch_size=self.setting.batch,
            on_duplicates="allow",
        )

    def fitted(
        self,
        name: str,
        task: Callable[..., L.LightningModule],
        modalities: tuple[str, ...],
        epochs: int,
        start_from: Path | None = None,
    ) -> Path:
        """The checkpoint of a fit, which is run if it is not there.

        Args:
            name: of the checkpoint's folder.
            task: makes the task, of an optimizer and a scheduler.
            modalities: which of the data it sees.
            epochs: how long; the last one counts.
            start_from: a checkpoint whose student goes on.
        """
        path = self.folder / name / "last.ckpt"
        if path.exists():
            return path
        L.seed_everything(self.seed, verbose=False)
        trainer = Trainer(
            max_epochs=epochs,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        module = task(
            optimizer=partial(
                torch.optim.AdamW,
                lr=self.setting.rate,
                weight_decay=self.setting.decay,
                fused=True,
            ),
            scheduler=lambda optimizer: CosineAnnealingLR(optimizer, epochs),
        )
        trainer.fit(module, datamodule=self.data(*modalities), start_from=start_from)
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part, weights_only=True)
        part.replace(path)
        return path

    def pair(self, student: str) -> tuple[str, str]:
        """The student's modality and the other one, in an order that does not depend on whose."""
        first, second = sorted((student, self.setting.pairs[student]))
        return first, second

    def encoders(self, *modalities: str) -> dict[str, Any]:
        """The encoder of each."""
        return {m: self.setting.encoders[m] for m in modalities}

    def teacher(self, student: str) -> Path:
        """Of both modalities, trained by itself."""
        both = self.pair(student)
        make = partial(SupervisedTask, self.encoders(*both), FUSION)
        return self.fitted(f"teacher of {' and '.join(both)}", make, both, self.setting.epochs)

    def team(self, student: str) -> Path:
        """A co-trained and specialised team."""
        both, other = self.pair(student), self.setting.pairs[student]
        peers = (Peer([m], self.encoders(m), FUSION) for m in (student, other))
        first = self.fitted(
            f"{student}/stage 1",
            partial(CoTrainingTask, *peers, self.encoders(*both), FUSION),
            both,
            self.setting.co_training,
        )
        sites = {"teacher": [other, "fused"], "auxiliary": [other, "fused"]}
        return self.fitted(
            f"{student}/stage 2",
            partial(SpecialisationTask, str(first), sites),
            both,
            self.setting.specialisation,
        )

    def student(self, student: str, name: str, weight: float) -> Path:
        """A student, distilled in one way or trained alone."""
        encoders, epochs = self.encoders(student), self.setting.epochs
        if name in (ALONE, LONGER):
            # As long as a student that was co-trained before.
            epochs += self.setting.co_training if name == LONGER else 0
            make = partial(SupervisedTask, encoders, FUSION)
            return self.fitted(f"{student}/{name}", make, (student,), epochs)
        way = WAYS[name]
        teacher = self.team(student) if way.is_team else self.teacher(student)
        terms = [way.term(weight, student)]
        return self.fitted(
            f"{student}/{name}, {weight:g}",
            partial(DistillationTask, str(teacher), encoders, FUSION, terms),
            self.pair(student),
            epochs,
            teacher if way.is_team else None,
        )

    def scores(self, path: Path, split: str) -> dict[str, float]:
        """Accuracy and log loss of a checkpoint's model on its own modalities."""
        model = mmfuse.load(path)
        data = self.data(*model.modalities)
        data.adopt(model.spec)
        said, wanted = [], []
        with torch.no_grad():
            for batch in data.loader(split):  # type: ignore[arg-type]
                said.append(model(batch).logits["y"].double().softmax(1).numpy())
                wanted.append(batch.target["y"].numpy())
        return _scores(np.concatenate(said), np.concatenate(wanted))

    def regression(self, *modalities: str) -> dict[str, float]:
        """Logistic regression of the same training rows, on test rows."""
        flat = [self.rows.inputs[m].reshape(len(self.rows.label), -1) for m in modalities]
        joined, label = np.concatenate(flat, axis=1), self.rows.label
        train, test = self.rows.split == "train", self.rows.split == "test"
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(joined[train], label[train])
        return _scores(model.predict_proba(joined[test]), label[test])


def _scores(said: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    loss = log_loss(wanted, said, labels=np.arange(said.shape[1]))
    return {"accuracy": accuracy_score(wanted, said.argmax(1)), "log_loss": loss}
