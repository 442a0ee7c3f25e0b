"""Do modalities that disagree tell of unknown classes, and what is it worth to train for that?

Digits 0 to 6 are known, 7 to 9 are not. Four ways of training, five seeds, every score. Lines are
added to scores.csv as each run ends; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from torchaudio.functional import resample
from torchaudio.transforms import MFCC

from mmfuse import ArrayData, Batch, CatalogueData, SupervisedTask, Trainer
from mmfuse.compare.table import interval
from mmfuse.media import Sound
from mmfuse.objectives import A2D, NPMix, Objective, SupervisedLoss, UnimodalLoss
from mmfuse.robustness.ood import evaluate_ood

SETS = ("av_digits", "handwritten")
KNOWN = 7
EPOCHS, BATCH = 30, 64


@dataclass(frozen=True)
class Digits:
    """A data set of digits as columns of numbers, with its own test rows."""

    inputs: Mapping[str, np.ndarray]
    label: np.ndarray
    is_test: np.ndarray

    @classmethod
    def of(cls, name: str) -> Digits:
        """From the catalogue; of sounds and images MFCC and pixels, as their baselines read."""
        data = CatalogueData(name)
        source = data.dataset("train")
        rows = np.arange(len(source.present))
        if name == "av_digits":
            sys.path.insert(0, str(Path(__file__).parents[1] / "av_digits"))
            from baseline import features  # beside that set's own study

            inputs = features(data)
        else:
            inputs = {m: column.take(rows) for m, column in source.columns.items()}
        (label,) = source.targets.values()
        is_test = np.isin(rows, data.rows("test").numpy())
        used = np.isin(
            rows, np.concatenate([data.rows(s).numpy() for s in ("train", "val", "test")])
        )
        return cls(
            {m: np.asarray(x, np.float32)[used] for m, x in inputs.items()},
            label.numpy()[used],
            is_test[used],
        )

    def known(self, seed: int) -> ArrayData:
        """The rows of known classes; the seed draws who validates."""
        rows = self.label < KNOWN
        split = np.where(self.is_test[rows], "test", "train")
        inputs = {m: x[rows] for m, x in self.inputs.items()}
        return ArrayData(
            inputs,
            self.label[rows],
            split=split,
            seed=seed,
            batch_size=BATCH,
            on_duplicates="drop",
        )

    def unknown(self) -> Batch:
        """The test rows of the other classes."""
        return _batch({m: x[self.is_test & (self.label >= KNOWN)] for m, x in self.inputs.items()})

    def elsewhere(self) -> Batch:
        """Sounds of surroundings and emoji, heard and seen as those of av_digits are."""
        from baseline import mfcc

        sounds, pictures = CatalogueData("esc10"), CatalogueData("openmoji")
        every = sounds.dataset("train").columns["sound"]
        heard = [every.read(i) for i in range(len(every))]
        extract = MFCC(8000, n_mfcc=20, melkwargs={"n_fft": 256, "hop_length": 128, "n_mels": 32})
        slow = [Sound(resample(torch.tensor(s.samples), s.rate, 8000).numpy(), 8000) for s in heard]
        seen = pictures.dataset("train").columns["picture"].take(np.arange(len(slow)))
        # Strokes are white in the digits, dark in the emoji.
        grey = [255 - np.asarray(p.convert("L").resize((28, 28)), np.float32) for p in seen]
        return _batch(
            {
                "sound": np.stack([mfcc(s, extract) for s in slow]),
                "image": np.stack(grey).reshape(len(slow), -1) / 255,
            }
        )

    def noise(self, seed: int) -> Batch:
        """Rows of Gaussian noise, with the mean and deviation of each feature of known rows."""
        draw = np.random.default_rng(seed)
        train = ~self.is_test & (self.label < KNOWN)
        count = int((self.is_test & (self.label < KNOWN)).sum())
        return _batch(
            {
                m: draw.normal(x[train].mean(0), x[train].std(0), (count, x.shape[1]))
                for m, x in self.inputs.items()
            }
        )


def _batch(inputs: Mapping[str, np.ndarray]) -> Batch:
    tensors = {m: torch.tensor(x, dtype=torch.float32) for m, x in inputs.items()}
    count = len(next(iter(tensors.values())))
    return Batch(tuple(tensors), tensors, torch.ones(count, len(tensors), dtype=torch.bool))


def trainings(modalities: int, steps: int) -> dict[str, Callable[[], list[Objective]]]:
    """The objectives of each way of training, in the weights of the authors of A2D.

    They divide the losses of the M + 1 heads by M + 1, which is to multiply their ratios by it;
    outliers begin after a fifth of the training.
    """
    heads = modalities + 1
    return {
        "fused alone": lambda: [SupervisedLoss()],
        "unimodal heads": lambda: [SupervisedLoss(), UnimodalLoss()],
        "A2D": lambda: [SupervisedLoss(), A2D(ratio=1.0 * heads)],
        "A2D, NP-Mix": lambda: [
            SupervisedLoss(),
            NPMix(
                ratio=0.5 * heads,
                ratio_entropy=0.5 * heads,
                ratio_outlier=0.5 * heads,
                warmup=steps // 5,
            ),
        ],
    }


def study(name: str, digits: Digits, seed: int, epochs: int) -> pd.DataFrame:
    """Every score of one seed."""
    encoder = {
        "class_path": "MLPEncoder",
        "init_args": {"hidden": [128], "out_dim": 64, "dropout": 0.2},
    }
    parts = []
    others = {"unknown": [digits.unknown()], "noise": [digits.noise(seed)]}
    if name == "av_digits":
        others["elsewhere"] = [digits.elsewhere()]
    steps = epochs * -(-len(digits.known(seed).rows("train")) // BATCH)
    for training, objectives in trainings(len(digits.inputs), steps).items():
        L.seed_everything(seed, verbose=False)
        data = digits.known(seed)
        task = SupervisedTask(
            dict.fromkeys(digits.inputs, encoder), "ConcatFusion", objectives=objectives()
        )
        # The last epoch counts: none is chosen.
        trainer = Trainer(
            max_epochs=epochs,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            limit_val_batches=0,
        )
        trainer.fit(task, datamodule=data)
        found = evaluate_ood(
            task.model,
            data.loader("train"),
            data.loader("test"),
            others,
            heads=None if training == "fused alone" else task.objectives[1],
            shifts={s: "near" if s == "unknown" else "far" for s in others},
            bootstrap=0,
        )
        line = found.table[["set", "score", "metric", "value"]]
        accuracy = pd.DataFrame(
            {"set": ["in"], "score": [""], "metric": ["accuracy"], "value": [found.accuracy]}
        )
        parts.append(pd.concat([accuracy, line]).assign(training=training))
    return pd.concat(parts).assign(data=name, seed=seed)


def append(lines: pd.DataFrame, path: Path) -> None:
    """Adds a whole seed to a file."""
    if path.exists():
        lines = pd.concat([pd.read_csv(path, keep_default_na=False), lines])
    part = path.with_suffix(".part")
    lines.to_csv(part, index=False, float_format="%.6f")
    part.replace(path)


def tables(scores: pd.DataFrame) -> str:
    """What training does to some scores, and every score after training with unimodal heads."""
    parts = []
    for name, own in scores.groupby("data", sort=False):
        parts += [f"## {name}\n", _trainings(own), "Every score, with unimodal heads:\n"]
        parts.append(_every_score(own[own["training"] == "unimodal heads"]))
        count = own["seed"].nunique()
        parts.append(f"Mean ± half-width of the 95 % Student interval over {count} seeds.\n")
    parts.append(
        "FPR95: unknown rows are positive, share of known rows flagged where 95 % of unknown "
        "rows are caught; (in): known rows are positive, share of unknown rows that pass where "
        "95 % of known rows do.\n"
    )
    return "\n".join(parts)


#: Columns of the first table: a title, and where its values stand.
_SHOWN = {
    "accuracy": ("in", "", "accuracy"),
    "MSP AUROC": ("unknown", "msp", "auroc"),
    "energy AUROC": ("unknown", "energy", "auroc"),
    "energy FPR95": ("unknown", "energy", "fpr95_out"),
    "disagreement AUROC": ("unknown", "disagreement_l1", "auroc"),
    "disagreement FPR95": ("unknown", "disagreement_l1", "fpr95_out"),
}


def _trainings(scores: pd.DataFrame) -> str:
    wide = scores.set_index(["training", "set", "score", "metric", "seed"])["value"].sort_index()
    names = list(dict.fromkeys(scores["training"]))
    lines = _head("training", _SHOWN)
    for training in names:
        lines.append(_row(training, [wide.get((training, *where)) for where in _SHOWN.values()]))
    for training in names:
        if training != "unimodal heads":
            less = [
                _less(wide.get((training, *w)), wide.get(("unimodal heads", *w)))
                for w in _SHOWN.values()
            ]
            lines.append(_row(f"{training} less unimodal heads", less, signed=True))
    return "\n".join(lines) + "\n"


def _every_score(scores: pd.DataFrame) -> str:
    columns = {
        f"{s} {title}": (s, metric)
        for s in ("unknown", "noise", "elsewhere")
        if s in set(scores["set"])
        for title, metric in (
            ("AUROC", "auroc"), ("FPR95", "fpr95_out"), ("FPR95 (in)", "fpr95_in"),
        )
    }  # fmt: skip
    wide = scores.set_index(["score", "set", "metric", "seed"])["value"].sort_index()
    lines = _head("score", columns)
    for score in dict.fromkeys(scores.loc[scores["score"] != "", "score"]):
        lines.append(_row(score, [wide.get((score, *where)) for where in columns.values()]))
    return "\n".join(lines) + "\n"


def _less(a: pd.Series | None, b: pd.Series | None) -> pd.Series | None:
    return None if a is None or b is None else a - b


def _head(first: str, columns: Mapping[str, object]) -> list[str]:
    return [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]


def _row(name: str, values: list[pd.Series | None], signed: bool = False) -> str:
    cells = []
    for value in values:
        if value is None:
            cells.append("")
            continue
        mean, half = interval(value.to_numpy(dtype=float))
        cells.append(f"{mean:{'+' if signed else ''}.3f} ± {half:.3f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Runs what is not done and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "scores.csv"
    for name in given.sets:
        digits = None
        for seed in given.seeds:
            done = pd.read_csv(path) if path.exists() else None
            if done is not None and ((done["data"] == name) & (done["seed"] == seed)).any():
                continue
            digits = digits or Digits.of(name)
            append(study(name, digits, seed, given.epochs), path)
            print(f"{name}, seed {seed}: done", flush=True)
    told = tables(pd.read_csv(path, keep_default_na=False))
    (given.out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
