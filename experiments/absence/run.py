"""Which training should one take when modalities will be absent?

Every method on every set under every mechanism: five seeds of training, three of the masks. Lines
are added to scores.csv as each training ends; what stands there is not run again.

python experiments/absence/run.py
python experiments/absence/run.py --sets rosmap --methods "dropout .3" ShaSpec
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import fits
import numpy as np
import pandas as pd
from filled import filled
from methods import METHODS, MORE_SETTINGS, Method
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import tables

from mmfuse import ArrayData, FusionModel
from mmfuse.missing import subsets
from mmfuse.robustness import Condition, complete, complete_conditions, evaluate
from mmfuse.robustness.tables import summary_table
from mmfuse.runs import hush
from mmfuse_encoders import MLPEncoder

sys.path.insert(0, str(Path(__file__).parents[1]))
from columns import Columns
from progress import append, is_done

SETS = ("rosmap", "av_digits_speakers", "handwritten", "womens_clothing")
EPOCHS, BATCH, MASK_SEEDS = 20, 64, 3
ENCODER = partial(MLPEncoder, hidden=[128], out_dim=64, dropout=0.3)
#: Of more modalities there is no ceiling: the models would be too many.
MOST = 4
EVERY = {**METHODS, **MORE_SETTINGS}
BASELINE, CEILING = "logistic regression, means", "a model for each subset"


def fitted(method: Method, data: ArrayData, seed: int, epochs: int) -> FusionModel:
    """A trained model, filled if the method says so."""
    model = fits.fitted(method, data, dict.fromkeys(data.spec.modalities, ENCODER), seed, epochs)
    return model if method.fill is None else filled(model, method.fill)


def conditions_of(data: ArrayData, mask_seed: int) -> list[Condition]:
    """Everything that the library simulates, calibrated on training rows."""
    return complete_conditions(tuple(data.spec.modalities), data.facts("train"), seed=mask_seed)


def summed_up(table: pd.DataFrame, mask_seed: int) -> list[dict[str, Any]]:
    """Accuracy on complete data, area over MCAR rates, worst subset, and each family's mean."""
    table = table[table["metric"] == "accuracy"]
    found = []
    for _, line in summary_table(table).iterrows():
        family = line["family"]
        found.append((family, line["mean"]))
        if family == "mcar":
            found.append(("area under MCAR", line["area"]))
        if family == "subset":
            found.append(("worst subset", line["worst"]))
    return [{"what": w, "value": v, "mask_seed": mask_seed} for w, v in found]


def measured(model: FusionModel, data: ArrayData, split: str = "test") -> list[dict[str, Any]]:
    """What a model does on ``split`` under every condition of each seed of the masks."""
    lines = []
    for mask_seed in range(MASK_SEEDS):
        result = evaluate(
            model,
            list(data.loader(split)),
            data.facts(split),
            conditions_of(data, mask_seed),
            bootstrap=0,
            importance=False,
        )
        lines += summed_up(result.conditions, mask_seed)
    return lines


def baseline(data: ArrayData) -> list[dict[str, Any]]:
    """Logistic regression on all columns, training means where a modality is absent."""
    x, y, present = {}, {}, {}
    for split in ("train", "test"):
        rows, dataset = data.rows(split).numpy(), data.dataset(split)
        x[split] = {m: c.take(rows) for m, c in dataset.columns.items()}
        y[split] = dataset.targets["y"].numpy()[rows]
        present[split] = dataset.present.numpy()[rows]
    means = {
        m: np.mean(v, axis=0, where=present["train"][:, [i]])
        for i, (m, v) in enumerate(x["train"].items())
    }
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(_joined(x["train"], present["train"], means), y["train"])
    return scored(data, lambda kept: model.predict(_joined(x["test"], kept, means)))


def ceiling(columns: Columns, seed: int, epochs: int) -> list[dict[str, Any]]:
    """A model of its own for each subset of modalities, which answers the rows that have it."""
    data = columns.data(seed, batch_size=BATCH)
    names = tuple(data.spec.modalities)
    train = data.dataset("train").targets["y"].numpy()[data.rows("train").numpy()]
    most = np.bincount(train).argmax()
    answers = {}
    for subset in subsets(names, limit=len(names)):
        # With few columns many rows look alike; those that are alike in all are gone anyway.
        own = columns.data(seed, *subset, batch_size=BATCH, on_duplicates="allow")
        model = fitted(Method("ConcatFusion"), own, seed, epochs)
        found = evaluate(
            model,
            list(own.loader("test")),
            own.facts("test"),
            [complete()],
            bootstrap=0,
            importance=False,
        )
        answers[subset] = found.predictions.sort_values("row")["prediction"].to_numpy(int)

    def predict(kept: np.ndarray) -> np.ndarray:
        found = np.full(len(kept), most)
        for subset, answer in answers.items():
            here = (kept == np.isin(names, subset)).all(axis=1)
            found[here] = answer[here]
        return found

    return scored(data, predict)


def scored(data: ArrayData, predict: Callable[[np.ndarray], np.ndarray]) -> list[dict[str, Any]]:
    """What predictions from ``(N, M)`` masks come to under every condition."""
    facts, rows = data.facts("test"), data.rows("test").numpy()
    dataset = data.dataset("test")
    present, label = dataset.present.numpy()[rows], dataset.targets["y"].numpy()[rows]
    lines = []
    for mask_seed in range(MASK_SEEDS):
        table = []
        for c in conditions_of(data, mask_seed):
            kept = present & c.missing.keep(facts).numpy() if c.missing else present
            table.append(
                {"condition": c.name, "family": c.family, "rate": c.rate, "target": "y",
                 "metric": "accuracy", "value": (predict(kept) == label).mean(),
                 "higher_is_better": True}
            )  # fmt: skip
        lines += summed_up(pd.DataFrame(table), mask_seed)
    return lines


def _joined(
    x: dict[str, np.ndarray], present: np.ndarray, means: dict[str, np.ndarray]
) -> np.ndarray:
    return np.concatenate(
        [np.where(present[:, [i]], v, means[m]) for i, (m, v) in enumerate(x.items())], axis=1
    )


def lines_of(
    method: str, columns: Columns, seed: int, epochs: int, split: str = "test"
) -> list[dict[str, Any]]:
    """Trains one method and scores it on ``split``; the bounds are of the test rows alone."""
    data = columns.data(seed, batch_size=BATCH)
    if method == BASELINE:
        return baseline(data)
    if method == CEILING:
        return ceiling(columns, seed, epochs)
    return measured(fitted(EVERY[method], data, seed, epochs), data, split)


def go_on(path: Path, name: str, methods: Iterable[str], seeds: Iterable[int], epochs: int) -> None:
    """Adds what a set lacks to the scores, training by training."""
    columns = None
    for seed, method in itertools.product(seeds, methods):
        key = {"data": name, "method": method, "seed": seed}
        if is_done(path, key):
            continue
        columns = columns or Columns.of(name)
        if method == CEILING and len(columns.inputs) > MOST:
            continue
        append([{**key, **line} for line in lines_of(method, columns, seed, epochs)], path)
        print(f"{name}, {method}, seed {seed}: done", flush=True)


def main() -> None:
    """Runs what is not done and writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=[*METHODS, BASELINE, CEILING])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    hush()
    path = given.out / "scores.csv"
    for name in given.sets:
        go_on(path, name, given.methods, given.seeds, given.epochs)
    told = tables(pd.read_csv(path))
    (given.out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
