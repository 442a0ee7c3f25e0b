"""Do interactions of two modalities foretell which fusion wins on them?

Every pair of modalities of four sets is a small data set of its own. Its training rows tell
redundancy, unique parts and synergy in bits, before any training; a model's validation rows tell
the Shapley interaction; the test rows tell which fusion won. Lines are added to scores.csv as each
pair and seed ends; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.compare.table import interval
from mmfuse.robustness import complete, evaluate, mean_interactions, row_scores
from mmfuse.robustness.interactions import discretised_pid
from mmfuse.robustness.interactions.discrete import PARTS
from mmfuse.runs import hush

sys.path.insert(0, str(Path(__file__).parents[1]))
from columns import Columns
from progress import append, is_done

SETS = ("av_digits", "handwritten", "rosmap", "mosi_utterance")
FUSIONS = ("LateMeanFusion", "ConcatFusion", "GatedFusion", "LowRankTensorFusion")
LATE, *JOINT = FUSIONS
EPOCHS, BATCH, CLUSTERS = 20, 64, 10
ENCODER = {
    "class_path": "MLPEncoder",
    "init_args": {"hidden": [64], "out_dim": 32, "dropout": 0.3},
}


def study(data: ArrayData, seed: int, epochs: int) -> dict[str, float]:
    """Everything that is measured of one pair and seed."""
    first, second = data.spec.modalities
    train, test = data.rows("train").numpy(), data.rows("test").numpy()
    columns, label = data.dataset("train").columns, data.dataset("train").targets["y"].numpy()
    x = {m: StandardScaler().fit_transform(c.take(train)) for m, c in columns.items()}
    found = discretised_pid(
        x[first], x[second], label[train], CLUSTERS, bootstrap=0, shuffles=20, seed=seed
    )
    line = dict(zip(PARTS, found.pid.parts, strict=True))
    line |= {f"{p} by chance": c for p, c in zip(PARTS, found.chance, strict=True)}
    for fusion in FUSIONS:
        L.seed_everything(seed, verbose=False)
        task = SupervisedTask(dict.fromkeys(x, ENCODER), fusion)
        # The last epoch counts: none is chosen.
        trainer = Trainer(
            max_epochs=epochs,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            limit_val_batches=0,
        )
        trainer.fit(task, datamodule=data)
        scores = evaluate(
            task.model,
            data.loader("test"),
            data.facts("test"),
            [complete()],
            bootstrap=0,
            importance=False,
        ).conditions
        line[fusion] = float(scores.loc[scores["metric"] == "accuracy", "value"].iloc[0])
        rows = row_scores(task.model, list(data.loader("val")))
        line[f"interaction in {fusion}"] = float(mean_interactions(rows, 0)["value"].iloc[0])
    joined = {s: np.concatenate([c.take(r) for c in columns.values()], 1) for s, r in
              {"train": train, "test": test}.items()}  # fmt: skip
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    line["logistic regression"] = linear.fit(joined["train"], label[train]).score(
        joined["test"], label[test]
    )
    return line


#: What may foretell, and of what: a title and how it is had from the means over seeds.
FORETELLERS = {
    "synergy": lambda t: t["synergy"],
    "synergy less chance": lambda t: t["synergy"] - t["synergy by chance"],
    "redundancy": lambda t: t["redundancy"],
    "unique parts": lambda t: t["unique1"] + t["unique2"],
    "Shapley interaction in ConcatFusion": lambda t: t["interaction in ConcatFusion"],
    "Shapley interaction in LateMeanFusion": lambda t: t[f"interaction in {LATE}"],
}


def tables(scores: pd.DataFrame) -> str:
    """Each pair, and how well each measure foretells what joint fusions gain over a late one."""
    keys = ["data", "first", "second"]
    mean = scores.groupby(keys, sort=False).mean(numeric_only=True).drop(columns="seed")
    return "\n\n".join(
        [_pairs(scores, keys), _foretold(mean), _chosen(mean), f"{_count(scores)}\n"]
    )


def _pairs(scores: pd.DataFrame, keys: list[str]) -> str:
    shown = ["redundancy", "unique1", "unique2", "synergy", "synergy by chance"]
    shown += ["interaction in ConcatFusion", *FUSIONS, "logistic regression"]
    lines = [f"| set | modalities | {' | '.join(shown)} |", "|---" * (len(shown) + 2) + "|"]
    for (name, first, second), own in scores.groupby(keys, sort=False):
        cells = []
        for column in shown:
            middle, half = interval(own[column].to_numpy(dtype=float))
            cells.append(f"{middle:.3f} ± {half:.3f}" if column in FUSIONS else f"{middle:.3f}")
        lines.append(f"| {name} | {first}, {second} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _foretold(mean: pd.DataFrame) -> str:
    """Spearman's correlation over pairs, with an interval by resampled pairs."""
    titles = [f"{f} less {LATE}" for f in JOINT]
    lines = [f"| measure | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for title, of in FORETELLERS.items():
        cells = [_correlation(of(mean), mean[f] - mean[LATE]) for f in JOINT]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _correlation(x: pd.Series, y: pd.Series, draws: int = 2000) -> str:
    found = spearmanr(x, y).statistic
    draw = np.random.default_rng(0)
    resampled = []
    for _ in range(draws):
        rows = draw.integers(len(x), size=len(x))
        a, b = x.to_numpy()[rows], y.to_numpy()[rows]
        if len(np.unique(a)) > 1 and len(np.unique(b)) > 1:
            resampled.append(spearmanr(a, b).statistic)
    low, high = np.quantile(resampled, [0.025, 0.975]) if resampled else (np.nan, np.nan)
    return f"{found:+.2f} [{low:+.2f}, {high:+.2f}]"


def _chosen(mean: pd.DataFrame) -> str:
    """Accuracy over pairs if each measure chose between a joint and the late fusion."""
    lines = ["| chosen by | accuracy, mean over pairs |", "|---|---|"]
    best = mean[list(FUSIONS)].mean().idxmax()
    lines.append(f"| always {best}, the best on the mean | {mean[best].mean():.4f} |")
    lines += [f"| always {f} | {mean[f].mean():.4f} |" for f in FUSIONS if f != best]
    most = mean[list(FUSIONS)].max(axis=1).mean()
    lines.append(f"| the winner of each pair, by its test rows | {most:.4f} |")
    for title, of in FORETELLERS.items():
        chosen = _leave_one_out(of(mean), mean[JOINT[0]], mean[LATE])
        lines.append(f"| {title}: {JOINT[0]} above a threshold, else {LATE} | {chosen:.4f} |")
    return "\n".join(lines)


def _leave_one_out(x: pd.Series, joint: pd.Series, late: pd.Series) -> float:
    """The threshold, and which side of it is joint, are those of the other pairs."""
    values, gain = x.to_numpy(), (joint - late).to_numpy()
    found = []
    for i in range(len(values)):
        others = np.arange(len(values)) != i
        rules = [
            (gain[others] * (sign * values[others] > sign * cut)).sum().item()
            for cut in values[others]
            for sign in (1, -1)
        ]
        place = int(np.argmax(rules))
        cut, sign = values[others][place // 2], (1, -1)[place % 2]
        found.append(late.iloc[i] + gain[i] * (sign * values[i] > sign * cut))
    return float(np.mean(found))


def _count(scores: pd.DataFrame) -> str:
    pairs = len(scores[["data", "first", "second"]].drop_duplicates())
    return (
        f"{pairs} pairs of {scores['data'].nunique()} sets, mean over {scores['seed'].nunique()} "
        "seeds (± half-width of the 95 % Student interval). Correlations are Spearman's over "
        "pairs, with 95 % intervals by resampled pairs; pairs of one set are not independent, so "
        "that they are too narrow."
    )


def main() -> None:
    """Runs what is not done and writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    hush()
    path = given.out / "scores.csv"
    for name in given.sets:
        rows = Columns.of(name)
        for first, second in combinations(rows.inputs, 2):
            for seed in given.seeds:
                key = {"data": name, "first": first, "second": second, "seed": seed}
                if is_done(path, key):
                    continue
                found = study(rows.data(seed, first, second, batch_size=BATCH), seed, given.epochs)
                append([key | found], path)
                print(f"{name}: {first}, {second}, seed {seed}: done", flush=True)
    told = tables(pd.read_csv(path))
    (given.out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
