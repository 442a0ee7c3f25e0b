"""Recommenders on the two named sets: presets and baselines, five seeds, test users ranked once.

python experiments/recommend/run.py --data amazon_baby --presets bpr_mf lightgcn
python experiments/recommend/run.py --data tiktok

A line for each seed goes to scores.csv when its run is done; what is there is not run again. The
table goes to table.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import lightning as L
import pandas as pd
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import EarlyStopping

from mmfuse import Trainer
from mmfuse.compare.table import interval
from mmfuse.files import replacing
from mmfuse.lazy import import_names
from mmfuse.recommend import CatalogueInteractions, RecommendationData
from mmfuse.recommend.baselines import ItemKNN, Popularity, RankingBaseline
from mmfuse.registry import import_all
from mmfuse.tasks import RecommendationTask

HERE = Path(__file__).parent
PRESETS = HERE / "presets"
SHOWN = ("recall_at_10", "recall_at_20", "ndcg_at_10", "ndcg_at_20", "coverage", "popularity_lift")
#: Epochs between evaluations, and evaluations without a better one before a run ends.
EVERY, PATIENCE = 2, 10
BASELINES: dict[str, type[RankingBaseline]] = {"popularity": Popularity, "item_knn": ItemKNN}


def task_of(preset: str) -> RecommendationTask:
    """The task that a preset's file describes, as the command reads it."""
    import_all()
    import_names("mmfuse.recommend")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(L.LightningModule, "model")
    content = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text())
    made: RecommendationTask = parser.instantiate(
        parser.parse_object({"model": content["model"]})
    ).model
    return made


def trained(preset: str, data: RecommendationData, seed: int, epochs: int) -> dict[str, float]:
    """Test scores of the epoch that validation chose, and what the run took."""
    L.seed_everything(seed, verbose=False)
    stop = EarlyStopping("val/recall_at_20", mode="max", patience=PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs,
            default_root_dir=folder,
            logger=False,
            callbacks=[stop],
            check_val_every_n_epoch=EVERY,
            enable_progress_bar=False,
        )
        task, start = task_of(preset), time.process_time()
        trainer.fit(task, datamodule=data)
        took = (time.process_time() - start) / trainer.current_epoch
        (found,) = trainer.test(task, datamodule=data, ckpt_path="best", verbose=False)
    scores = {name.removeprefix("test/"): value for name, value in found.items()}
    return scores | {"epochs": trainer.current_epoch, "cpu seconds an epoch": took}


def standing(name: str, data: RecommendationData) -> dict[str, float]:
    """Test scores of a baseline, which has no seed."""
    train = data.interactions.lists("train")
    found = BASELINES[name](train).evaluate(data.interactions)
    assert found.exposure is not None
    return found.means() | found.exposure.scores(train)


def table(scores: pd.DataFrame) -> str:
    """Mean and half-width of the interval over seeds, a line a model."""
    parts = []
    for name, own in scores.groupby("data", sort=False):
        lines = [f"## {name}", "", f"| model | {' | '.join(SHOWN)} | epochs | CPU s an epoch |"]
        lines.append("|---" * (len(SHOWN) + 3) + "|")
        for model, runs in own.groupby("model", sort=False):
            if len(runs) == 1:
                cells = [f"{runs[c].iloc[0]:.4f}" for c in SHOWN] + ["", ""]
            else:
                cells = ["{:.4f} ± {:.4f}".format(*interval(runs[c].to_numpy())) for c in SHOWN]
                cells += [f"{runs['epochs'].mean():.0f}"]
                cells += [f"{runs['cpu seconds an epoch'].mean():.1f}"]
            lines.append(f"| {model} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    note = "Mean ± half-width of the 95 % Student interval over seeds; baselines have no seed."
    return "\n\n".join([*parts, note]) + "\n"


def main() -> None:
    """Baselines, then every preset over every seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    # Neither set has times, which SASRec needs.
    every = sorted({p.stem for p in PRESETS.glob("*.yaml")} - {"sasrec"})
    parser.add_argument("--data", nargs="+", default=["tiktok"], choices=["tiktok", "amazon_baby"])
    parser.add_argument("--presets", nargs="+", default=every, choices=every)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of scores.csv and table.md")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "scores.csv"
    scores = pd.read_csv(file) if file.is_file() else pd.DataFrame()
    for name in given.data:
        wanted = [(b, -1) for b in BASELINES] + [(p, s) for p in given.presets for s in given.seeds]
        for model, seed in wanted:
            if (
                len(scores)
                and (
                    (scores["data"] == name) & (scores["model"] == model) & (scores["seed"] == seed)
                ).any()
            ):
                continue
            data = RecommendationData(CatalogueInteractions(name), seed=max(seed, 0))
            is_baseline = model in BASELINES
            found = (
                standing(model, data) if is_baseline else trained(model, data, seed, given.epochs)
            )
            line = {"data": name, "model": model, "seed": seed, **found}
            scores = pd.concat([scores, pd.DataFrame([line])], ignore_index=True)
            with replacing(file) as part:
                scores.to_csv(part, index=False, float_format="%.6g")
            print(
                f"{name}: {model}, seed {seed}, recall at 20 {found['recall_at_20']:.4f}",
                flush=True,
            )
    (given.out / "table.md").write_text(table(scores))
    print(f"Table: {given.out / 'table.md'}")


if __name__ == "__main__":
    main()
