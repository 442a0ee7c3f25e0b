"""What does a student of one modality learn from a teacher of two? Seven ways, five seeds.

The weight of each way's distillation is chosen by the validation rows of the first seed; the test
rows are read once, by the chosen students of all. Lines are added to trials.csv and scores.csv as
each run ends; what stands there is not run again, nor is a fit whose checkpoint is in the folder of
runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, log_loss

import mmfuse
from mmfuse import ArrayData, CatalogueData, SupervisedTask, Trainer
from mmfuse.compare.table import interval
from mmfuse.distillation import (
    Distillation,
    FeatureDistillation,
    HardRoutedDistillation,
    RelationalDistillation,
    SoftTargets,
    WeightedRoutedDistillation,
)
from mmfuse.tasks import CoTrainingTask, DistillationTask, Peer, SpecialisationTask

BASELINE = Path(__file__).parents[1] / "av_digits/baseline.csv"
SET, MODALITIES = "av_digits_speakers", ("sound", "image")
EPOCHS, STAGE_EPOCHS, BATCH = 6, 2, 64
WEIGHTS, SEARCHED = (0.1, 1.0), 1
ENCODER = {
    "class_path": "MLPEncoder",
    "init_args": {"hidden": [128], "out_dim": 64, "dropout": 0.2},
}
FUSION = {"class_path": "ConcatFusion", "init_args": {"out_dim": 64, "hidden": 64}}


@dataclass(frozen=True)
class Way:
    """How a student is distilled.

    Args:
        term: makes the term of distillation, of a weight.
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
    "co-trained, soft targets": Way(lambda w, _: SoftTargets(w), is_team=True),
    "MST-Distill, hard router": Way(lambda w, _: HardRoutedDistillation(w), is_team=True),
    "MST-Distill, weighted router": Way(lambda w, _: WeightedRoutedDistillation(w), is_team=True),
}


class Study:
    """One seed: the speaker who validates, the weights' start, the order of batches.

    Args:
        seed: of all.
        folder: of checkpoints.
        epochs: of students and of the teacher that is trained alone.
    """

    def __init__(self, seed: int, folder: Path, epochs: int) -> None:
        self.seed, self.folder, self.epochs = seed, folder / f"seed_{seed}", epochs

    def data(self, *only: str) -> ArrayData:
        """The rows with their splits."""
        inputs, label, split = rows(self.seed)
        kept = {m: inputs[m] for m in only or MODALITIES}
        return ArrayData(
            kept, label, split=split, seed=self.seed, batch_size=BATCH, on_duplicates="allow"
        )

    def fitted(
        self, name: str, make: Callable[[], L.LightningModule], *only: str, **how: Any
    ) -> Path:
        """The checkpoint of a fit, which is run if it is not there."""
        path = self.folder / name / "last.ckpt"
        if path.exists():
            return path
        L.seed_everything(self.seed, verbose=False)
        task, data = make(), self.data(*only)
        # The last epoch counts: that of the lowest loss for another speaker is often the first.
        trainer = Trainer(
            max_epochs=how.get("epochs", self.epochs),
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            limit_val_batches=0,
        )
        trainer.fit(task, datamodule=data, start_from=how.get("start_from"))
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part, weights_only=True)
        part.replace(path)
        return path

    @cached_property
    def teacher(self) -> Path:
        """Of both modalities, trained by itself."""
        return self.fitted(
            "teacher", lambda: SupervisedTask(dict.fromkeys(MODALITIES, ENCODER), FUSION)
        )

    def team(self, student: str) -> Path:
        """A co-trained and specialised team."""
        (other,) = set(MODALITIES) - {student}

        def co_training() -> CoTrainingTask:
            peers = (Peer([m], {m: ENCODER}, FUSION) for m in (student, other))
            return CoTrainingTask(*peers, dict.fromkeys(MODALITIES, ENCODER), FUSION)

        first = self.fitted(f"{student}/stage 1", co_training, epochs=STAGE_EPOCHS)
        sites = {"teacher": [other, "fused"], "auxiliary": [other, "fused"]}
        return self.fitted(
            f"{student}/stage 2",
            lambda: SpecialisationTask(str(first), sites),
            epochs=STAGE_EPOCHS,
        )

    def student(self, student: str, name: str, weight: float) -> Path:
        """A student, distilled in one way or trained alone."""
        label = f"{student}/{name}, {weight:g}"
        if name == "alone":
            return self.fitted(label, lambda: SupervisedTask({student: ENCODER}, FUSION), student)
        way = WAYS[name]
        teacher = self.team(student) if way.is_team else self.teacher
        return self.fitted(
            label,
            lambda: DistillationTask(
                str(teacher), {student: ENCODER}, FUSION, [way.term(weight, student)]
            ),
            start_from=teacher if way.is_team else None,
        )

    def scores(self, path: Path, split: str) -> dict[str, float]:
        """Accuracy and log loss of a checkpoint's model on its own modalities."""
        model = mmfuse.load(path)
        data = self.data(*model.modalities)
        data.adopt(model.spec)
        said, wanted = [], []
        for batch in data.loader(split):  # type: ignore[arg-type]
            said.append(model(batch).logits["y"].double().softmax(1).detach().numpy())
            wanted.append(batch.target["y"].numpy())
        return _scores(np.concatenate(said), np.concatenate(wanted))

    def baseline(self, name: str) -> dict[str, float]:
        """Logistic regression of the same training rows, as that set's own study scored it."""
        found = pd.read_csv(BASELINE).set_index(["model", "seed"])["accuracy"]
        accuracy = found[f"logistic regression, {name}", self.seed]
        return {"accuracy": float(accuracy), "log_loss": float("nan")}


def _scores(said: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    loss = log_loss(wanted, said, labels=np.arange(10))
    return {"accuracy": accuracy_score(wanted, said.argmax(1)), "log_loss": loss}


_READ: list[tuple[CatalogueData, dict[str, np.ndarray], np.ndarray]] = []


def rows(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """MFCC and pixels, digits, and each row's split; the seed draws the speaker who validates."""
    if not _READ:
        sys.path.insert(0, str(Path(__file__).parents[1] / "av_digits"))
        from baseline import features  # beside that set's own study

        base = CatalogueData(SET)
        found = {m: np.asarray(x, np.float32) for m, x in features(base).items()}
        _READ.append((base, found, base.dataset("train").targets["digit"].numpy()))
    base, inputs, label = _READ[0]
    split = np.full(len(label), "train", dtype=object)
    drawn = base.reseeded(seed)
    for name in ("val", "test"):
        split[drawn.rows(name).numpy()] = name  # type: ignore[arg-type]
    return inputs, label, split


def add(path: Path, key: Mapping[str, Any], make: Callable[[], Mapping[str, float]]) -> None:
    """Adds a line to a file, unless one of the same key stands there."""
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(key))
    if (done[list(key)] == list(key.values())).all(axis=1).any():
        return
    line = pd.DataFrame([{**key, **make()}])
    part = path.with_suffix(".part")
    (pd.concat([done, line]) if len(done) else line).to_csv(part, index=False, float_format="%.6f")
    part.replace(path)
    print(*key.values(), flush=True)


def tried(study: Study, student: str, path: Path) -> None:
    """Every way and weight, scored on validation rows."""
    for name in ("alone", *WAYS):
        for weight in (1.0,) if name == "alone" else WEIGHTS:
            key = {"student": student, "way": name, "weight": weight, "seed": study.seed}
            add(
                path,
                key,
                lambda n=name, w=weight: study.scores(study.student(student, n, w), "val"),
            )


def chosen(trials: pd.DataFrame) -> dict[tuple[str, str], float]:
    """For each student and way the weight with the best mean accuracy on validation rows."""
    means = trials.groupby(["student", "way", "weight"])["accuracy"].mean()
    best = means.groupby(["student", "way"]).idxmax()
    return {(s, w): float(at[2]) for (s, w), at in best.items()}


def tested(
    study: Study, student: str, weights: Mapping[tuple[str, str], float], path: Path
) -> None:
    """The chosen students and what stands beside them, scored on test rows."""
    none = float("nan")
    lines: dict[str, tuple[float, Callable[[], dict[str, float]]]] = {}
    for name in ("alone", *WAYS):
        weight = weights[student, name]
        lines[name] = (
            none if name == "alone" else weight,
            lambda n=name, w=weight: study.scores(study.student(student, n, w), "test"),
        )
    lines |= {
        "teacher, both modalities": (none, lambda: study.scores(study.teacher, "test")),
        "logistic regression": (none, lambda: study.baseline(student)),
        "logistic regression, both": (none, lambda: study.baseline("sound and image")),
    }
    for name, (weight, make) in lines.items():
        key = {"student": student, "way": name, "seed": study.seed}
        add(path, key, lambda w=weight, m=make: {"weight": w, **m()})


def table(scores: pd.DataFrame) -> str:
    """What each way's students score, and what they score above the one trained alone."""
    parts = []
    for student, own in scores.groupby("student", sort=False):
        parts.append(f"## {student}\n")
        head = ["way", "weight", "accuracy", "less alone", "log loss", "less alone"]
        parts += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        alone = own[own["way"] == "alone"].set_index("seed")
        for way, lines in own.groupby("way", sort=False):
            lines, cells = lines.set_index("seed"), []
            for metric in ("accuracy", "log_loss"):
                known = lines[metric].dropna().to_numpy()
                told = "{:.3f} ± {:.3f}".format(*interval(known)) if len(known) else ""
                cells.append(told)
                less = (lines[metric] - alone[metric]).dropna().to_numpy()
                is_same = way == "alone" or not len(less)
                cells.append("" if is_same else "{:+.3f} ± {:.3f}".format(*interval(less)))
            weight = lines["weight"].iloc[0]
            parts.append(
                f"| {way} | {'' if np.isnan(weight) else f'{weight:g}'} | {' | '.join(cells)} |"
            )
        wide = own.pivot(index="seed", columns="way", values="accuracy")
        for way in ("MST-Distill, hard router", "MST-Distill, weighted router"):
            less = (wide[way] - wide["co-trained, soft targets"]).to_numpy()
            told = "{:+.3f} ± {:.3f}".format(*interval(less))
            parts.append(f"\n{way} less co-trained, soft targets: accuracy {told}.")
        parts.append("")
    parts.append(
        "Mean ± half-width of the 95 % Student interval over "
        f"{scores['seed'].nunique()} seeds; test rows, read once.\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Runs what is not done and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--runs", type=Path, default=Path("runs/distill"))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    trials, scores = given.out / "trials.csv", given.out / "scores.csv"
    studies = [Study(seed, given.runs, given.epochs) for seed in given.seeds]
    for study in studies[:SEARCHED]:
        for student in MODALITIES:
            tried(study, student, trials)
    weights = chosen(pd.read_csv(trials))
    for student in MODALITIES:
        for study in studies:
            tested(study, student, weights, scores)
    told = table(pd.read_csv(scores))
    (given.out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
