"""Four cancers over five folds: fusions with hazards and with Cox's model, beside ridge Cox.

Each fold tests once and all its other patients train, for a number of epochs that was chosen
beforehand; so no validation rows are held back, as the classical models need none. A run that is
done is not run again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmfuse import CatalogueData, SupervisedTask, Trainer
from mmfuse.baselines.features import Features
from mmfuse.baselines.models import LINEAR, fit_baseline
from mmfuse.compare import Study
from mmfuse.compare.table import interval
from mmfuse.robustness.metrics import score
from mmfuse.survival import kaplan_meier
from mmfuse_encoders import MLPEncoder, TableMLPEncoder

CANCERS = ("blca", "brca", "gbmlgg", "kirc")
FOLDS = range(5)
FUSIONS = {
    "concatenation": "ConcatFusion",
    "sequential": "SequentialFusion",
    "mean": "MeanFusion",
    "late mean": "LateMeanFusion",
}
MODELS = {"hazards": 4, "Cox": 0}
EPOCHS = 10
EVERYONE = "Kaplan-Meier curve for everyone"
METRICS = ("c_index", "c_index_ipcw", "ibs")
HERE = Path(__file__).parent


def data_of(cancer: str, fold: int, bins: int) -> CatalogueData:
    """One fold, without validation rows."""
    name = f"tcga_{cancer}{f'_fold{fold}' if fold else ''}"
    return CatalogueData(name, survival_bins=bins, val=0, batch_size=64)


def settings() -> tuple[dict[str, Any], Any]:
    """Encoders and optimizer, the same for every fusion."""
    omics = functools.partial(MLPEncoder, hidden=[128], out_dim=64, dropout=0.5)
    encoders: dict[str, Any] = dict.fromkeys(("rnaseq", "cnv", "mut"), omics)
    encoders["clinical"] = functools.partial(TableMLPEncoder, out_dim=64)
    return encoders, functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.05)


def task() -> SupervisedTask:
    """Concatenation; the study puts each fusion in its place."""
    encoders, optimizer = settings()
    return SupervisedTask(encoders, optimizer=optimizer)


def fused(cancer: str, fold: int, model: str, runs: Path) -> pd.DataFrame:
    """Every fusion on one fold, and beside the hazards the classical models on all features."""

    def trainer(folder: Path, callbacks: list[Any]) -> Trainer:
        return Trainer(
            max_epochs=EPOCHS,
            default_root_dir=folder,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
        )

    study = Study(
        task(),
        data_of(cancer, fold, MODELS[model]),
        trainer,
        FUSIONS,
        [fold],
        {},
        runs / f"{cancer}_{fold}_{model}",
        baselines=model == "hazards",
    )
    table = study.run()
    ours = table["variant"].isin(FUSIONS)
    table["variant"] = table["variant"].where(~ours, table["variant"] + f", {model}")
    return table.rename(columns={"variant": "model", "mean": "value"})


def alone(cancer: str, fold: int) -> pd.DataFrame:
    """Ridge Cox regression on each modality alone, and one curve for everyone."""
    data = data_of(cancer, fold, MODELS["hazards"])
    spec, features = data.spec.targets["os"], Features(data)
    y = data.dataset("train").targets["os"].numpy().astype(float)
    rows = {s: data.rows(s).numpy() for s in ("train", "test")}
    train, test = y[rows["train"]], y[rows["test"]]
    found = {}
    for m in data.spec.modalities:
        x = {s: features.of(r, data.facts(s).present.numpy(), [m]) for s, r in rows.items()}
        found[f"{LINEAR}, {m} alone"] = fit_baseline(LINEAR, spec, x["train"], train)(x["test"])
    curve = kaplan_meier(*train.T).at(spec.cuts)
    found[EVERYONE] = np.tile(np.append(1 - curve.mean(), curve), (len(test), 1))
    return pd.DataFrame(
        [
            {"model": name, "metric": s.metric, "value": float(s.value[0])}
            for name, predicted in found.items()
            for s in score(spec, predicted[None].astype(np.float32), test, bootstrap=0)
        ]
    )


def table(scores: pd.DataFrame, metric: str) -> str:
    """Mean and interval over the folds for each cancer, and the mean over cancers."""
    shown = scores[scores["metric"] == metric]
    cancers = list(dict.fromkeys(shown["cancer"]))
    lines = [
        f"| {metric} | " + " | ".join(c.upper() for c in cancers) + " | mean |",
        "|---" * (len(cancers) + 2) + "|",
    ]
    for name, own in shown.groupby("model", sort=False):
        cells = [interval(own[own["cancer"] == c]["value"].to_numpy()) for c in cancers]
        # A fold's mean over cancers is one number, so that its interval is over folds too.
        every = interval(own.groupby("fold")["value"].mean().to_numpy())
        told = " | ".join(f"{mean:.3f} ± {half:.3f}" for mean, half in [*cells, every])
        lines.append(f"| {name} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Every model on every fold: a line each in folds.csv, and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="of the tables")
    parser.add_argument("--runs", type=Path, default=Path("runs/survival"), help="what is done")
    parser.add_argument("--cancers", nargs="+", default=list(CANCERS), choices=CANCERS)
    parser.add_argument("--folds", type=int, nargs="+", default=list(FOLDS), choices=FOLDS)
    given = parser.parse_args()
    parts = []
    for cancer, fold in itertools.product(given.cancers, given.folds):
        found = [fused(cancer, fold, model, given.runs) for model in MODELS]
        found.append(alone(cancer, fold))
        parts.append(pd.concat(found).assign(cancer=cancer, fold=fold))
    scores = pd.concat(parts)[["cancer", "fold", "model", "metric", "value"]]
    given.out.mkdir(parents=True, exist_ok=True)
    scores.to_csv(given.out / "folds.csv", index=False, float_format="%.5f")
    told = "\n\n".join(table(scores, metric) for metric in METRICS)
    note = f"Mean ± half-width of the 95 % Student interval over {len(given.folds)} folds."
    (given.out / "table.md").write_text(f"{told}\n\n{note}\n")
    print(told)
    print(f"Tables: {given.out / 'table.md'}")


if __name__ == "__main__":
    main()
