"""Does merging help, with all modalities and without some? Five seeds.

Per seed one start is tuned four times over in several ways, and each four are merged. A line is
added to scores.csv and curves.csv as each seed ends; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from mmfuse import Batch, CatalogueData, FusionModel, SupervisedTask, Trainer, load
from mmfuse.baselines import BASELINES, baseline_scores
from mmfuse.compare.table import interval
from mmfuse.data import FusionDataModule
from mmfuse.merging import ValidationScore, curve, fusing, greedy_soup, uniform
from mmfuse.missing import MCAR, LabelMNAR, Missingness
from mmfuse.robustness import Condition
from mmfuse.robustness.passes import predict_under

SETS = ("digits_quadrants", "handwritten")
START, TUNE = 5, 10
UPPER, LOWER = [5, 6, 7, 8, 9], [0, 1, 2, 3, 4]
MODELS = 4
#: How much noise the noisy test rows have, in deviations of each feature.
NOISE = 1.0


@dataclass(frozen=True)
class Lab:
    """One data set and one seed, whose split all runs share."""

    name: str
    seed: int
    epochs: tuple[int, int]
    folder: Path

    def regimes(self) -> dict[str, Missingness | None]:
        """Who is taken away in training; the seeds differ from those of the test rows."""
        return {
            "complete": None,
            "mcar": MCAR(0.5, seed=100 + self.seed),
            "mnar": LabelMNAR(0.8, groups=UPPER, seed=100 + self.seed),
            "mnar flipped": LabelMNAR(0.8, groups=LOWER, seed=100 + self.seed),
        }

    def data(self, order: int, missing: Missingness | None = None) -> FusionDataModule:
        """The rows in some order, with some absence in training."""
        return CatalogueData(
            self.name, seed=order, split_seed=self.seed, missing=missing, batch_size=32
        )

    def train(
        self,
        data: FusionDataModule,
        start: FusionModel | None,
        epochs: int,
        draw: int,
        modality_dropout: float = 0.0,
    ) -> FusionModel:
        """A run of its own; the validation rows, as absent as the training rows, pick the epoch."""
        L.seed_everything(draw, verbose=False)
        encoder = {
            "class_path": "MLPEncoder",
            "init_args": {"hidden": [64], "out_dim": 32, "dropout": 0.2},
        }
        task = SupervisedTask(
            dict.fromkeys(data.spec.modalities, encoder),
            {"class_path": "ConcatFusion", "init_args": {"dropout": 0.2}},
            modality_dropout=modality_dropout,
        )
        if start is not None:
            task.start_from(start, data)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            trainer = Trainer(
                max_epochs=epochs,
                default_root_dir=folder,
                logger=False,
                enable_progress_bar=False,
            )
            trainer.fit(task, datamodule=data)
            return load(trainer.checkpoint_callback.best_model_path)

    def groups(self) -> Iterator[tuple[str, list[FusionModel]]]:
        """Each way of having several models, and the models; single ones stand alone."""
        first, tuned = self.epochs
        regimes = self.regimes()
        start = self.train(self.data(0), None, first, 1000 + self.seed)
        orders = [1000 * self.seed + i for i in range(1, MODELS + 1)]

        seeds = [self.train(self.data(o), start, tuned, o) for o in orders]
        yield "seeds", seeds
        absent = [
            self.train(self.data(o, m), start, tuned, o)
            for o, m in zip(orders, regimes.values(), strict=True)
        ]
        yield "absences", absent
        yield (
            "ratatouille",
            [
                self.train(self.data(o), model, tuned, o + 50)
                for o, model in zip(orders, absent, strict=True)
            ],
        )
        data = self.data(orders[0])
        yield (
            "fusing",
            [
                fusing(
                    start,
                    absent,
                    data,
                    lambda model, work: (
                        self.train(work, model, tuned, orders[0] + 50)
                        if work is data
                        else work  # the auxiliary models are there already
                    ),
                )
            ],
        )
        yield (
            "different starts",
            [self.train(self.data(o), None, first + tuned, o + 90) for o in orders],
        )
        longer = MODELS * tuned
        yield "one model, four times as long", [self.train(data, start, longer, orders[0] + 70)]
        yield (
            "one model, modality dropout 0.5",
            [self.train(data, start, tuned, orders[0] + 80, modality_dropout=0.5)],
        )


def conditions(seed: int) -> list[Condition]:
    """Who is taken away from test rows."""
    found = {
        "complete": None,
        "mcar 0.5": MCAR(0.5, seed=seed),
        "mnar": LabelMNAR(0.8, groups=UPPER, seed=seed),
        "mnar flipped": LabelMNAR(0.8, groups=LOWER, seed=seed),
    }
    return [Condition(name, name, float("nan"), missing) for name, missing in found.items()]


def noisy(batches: Sequence[Batch], data: FusionDataModule, seed: int) -> list[Batch]:
    """The same rows with noise in every feature."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for batch in batches:
        inputs = {}
        for m, x in batch.inputs.items():
            noise = torch.randn(x.shape, generator=draw) * torch.tensor(data.spec.modalities[m].std)
            inputs[m] = x + NOISE * noise.to(x.dtype)
        found.append(replace(batch, inputs=inputs))
    return found


class Judge:
    """Probabilities and accuracy on the test rows, under every condition."""

    def __init__(self, lab: Lab) -> None:
        self.data = lab.data(0)
        self.conditions = conditions(lab.seed)
        self.batches = list(self.data.loader("test"))
        self.noisy = noisy(self.batches, self.data, lab.seed)

    def probabilities(self, model: FusionModel) -> dict[str, np.ndarray]:
        """For each condition ``(N, K)``."""
        facts = self.data.facts("test")
        (target,) = model.spec.targets
        found = predict_under(model, self.batches, facts, self.conditions)
        self.label = found.labels[target]
        said = {c.name: p for c, p in zip(self.conditions, found.values[target], strict=True)}
        rough = predict_under(model, self.noisy, facts, self.conditions[:1])
        return {**said, "noise": rough.values[target][0]}

    def accuracy(self, said: dict[str, np.ndarray]) -> dict[str, float]:
        """Of each condition."""
        return {c: float((p.argmax(1) == self.label).mean()) for c, p in said.items()}


def ensemble(members: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of what several models say, which costs as much as all of them."""
    return {c: np.mean([m[c] for m in members], axis=0) for c in members[0]}


def study(lab: Lab) -> tuple[list[dict], list[dict]]:
    """Every score of one seed, and the curves between two models."""
    judge, score = Judge(lab), ValidationScore(lab.data(0))
    lines: list[dict] = []
    curves: list[dict] = []

    def add(group: str, model: str, accuracy: dict[str, float], **facts: float) -> None:
        for condition, value in accuracy.items():
            line = {"data": lab.name, "seed": lab.seed, "group": group, "model": model}
            lines.append({**line, "condition": condition, "accuracy": value, **facts})

    for group, models in lab.groups():
        said = [judge.probabilities(m) for m in models]
        alone = [judge.accuracy(s) for s in said]
        if len(models) == 1:
            add(group, "itself", alone[0])
            continue
        for i, accuracy in enumerate(alone):
            add(group, f"member {i + 1}", accuracy)
        add(group, "mean of members", {c: np.mean([a[c] for a in alone]) for c in alone[0]})
        best = int(np.argmax([score(m) for m in models]))
        add(group, "best member", alone[best])
        add(group, "average", judge.accuracy(judge.probabilities(uniform(models))))
        soup = greedy_soup(models, score)
        members = sum(w > 0 for w in soup.weights)
        add(group, "greedy soup", judge.accuracy(judge.probabilities(soup.model)), members=members)
        add(group, "ensemble", judge.accuracy(ensemble(said)))
        for method in ("interpolate", "slerp"):
            table = curve(*models[:2], score, method=method).table
            for share, value in zip(table["share"], table["score"], strict=True):
                line = {"data": lab.name, "seed": lab.seed, "group": group, "method": method}
                curves.append({**line, "share": share, "accuracy": value})
    for name in BASELINES:
        data = lab.data(0)
        data.setup("fit")
        found = baseline_scores(name, data, judge.conditions, lab.seed)
        found = found[found["metric"] == "accuracy"]
        add(name, "itself", dict(zip(found["condition"], found["value"], strict=True)))
    return lines, curves


def append(lines: list[dict], path: Path) -> None:
    """Adds lines to a file, whole seeds at a time."""
    table = pd.DataFrame(lines)
    if path.exists():
        table = pd.concat([pd.read_csv(path), table])
    part = path.with_suffix(".part")
    table.to_csv(part, index=False, float_format="%.6f")
    part.replace(path)


def is_done(out: Path, name: str, seed: int) -> bool:
    """Whether a seed's lines are there; curves are written last."""
    path = out / "curves.csv"
    if not path.exists():
        return False
    found = pd.read_csv(path)
    return bool(((found["data"] == name) & (found["seed"] == seed)).any())


ROWS = ("mean of members", "best member", "average", "greedy soup", "ensemble", "itself")


def table(scores: pd.DataFrame) -> str:
    """Mean and interval over seeds of each kind of model, a column for each condition."""
    names = list(dict.fromkeys(scores["condition"]))
    lines = ["| tuned | model | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for (group, model), own in scores.groupby(["group", "model"], sort=False):
        if model in ROWS:
            cells = [_cell(own[own["condition"] == c]["accuracy"].to_numpy()) for c in names]
            lines.append(f"| {group} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gains(scores: pd.DataFrame) -> str:
    """What merging adds to each thing that it may replace, seed by seed."""
    names = list(dict.fromkeys(scores["condition"]))
    lines = [
        "| tuned | average less | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    wide = scores.pivot_table(
        index=["group", "condition", "seed"], columns="model", values="accuracy", sort=False
    )
    for group in dict.fromkeys(scores.loc[scores["model"] == "average", "group"]):
        for other in ("mean of members", "best member", "ensemble"):
            less = (wide["average"] - wide[other]).loc[group]
            cells = [_cell(less.loc[c].to_numpy(), signed=True) for c in names]
            lines.append(f"| {group} | {other} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: np.ndarray, signed: bool = False) -> str:
    if not len(values):
        return ""
    mean, half = interval(values)
    return f"{mean:+.3f} ± {half:.3f}" if signed else f"{mean:.3f} ± {half:.3f}"


def picture(curves: pd.DataFrame) -> Figure:
    """The way between two models, from one start and from two."""
    sets = list(dict.fromkeys(curves["data"]))
    figure = Figure(figsize=(4.4 * len(sets), 3.6))
    colours = {"seeds": "#0072B2", "absences": "#009E73", "ratatouille": "#CC79A7"}
    for axes, name in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        for (group, method), own in curves[curves["data"] == name].groupby(
            ["group", "method"], sort=False
        ):
            by = own.groupby("share")["accuracy"]
            mean = by.mean()
            half = by.apply(lambda v: interval(v.to_numpy())[1])
            style = "-" if method == "interpolate" else ":"
            colour = colours.get(group, "#D55E00")
            label = group if method == "interpolate" else f"{group}, slerp"
            axes.plot(mean.index, mean, style, color=colour, label=label)
            if method == "interpolate":
                axes.fill_between(mean.index, mean - half, mean + half, color=colour, alpha=0.15)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("share of the second model")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy on validation rows")
    figure.axes[-1].legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


def main() -> None:
    """Runs what is not done and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", nargs=2, type=int, default=[START, TUNE])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        for seed in given.seeds:
            if is_done(given.out, name, seed):
                continue
            with tempfile.TemporaryDirectory() as folder:
                lab = Lab(name, seed, (given.epochs[0], given.epochs[1]), Path(folder))
                lines, curves = study(lab)
            append(lines, given.out / "scores.csv")
            append(curves, given.out / "curves.csv")
            print(f"{name}, seed {seed}: done", flush=True)
    scores, curves = (pd.read_csv(given.out / f"{n}.csv") for n in ("scores", "curves"))
    parts = []
    for name, own in scores.groupby("data", sort=False):
        parts += [f"## {name}\n", table(own), "What the average adds:\n", gains(own)]
    count = scores["seed"].nunique()
    parts.append(
        f"Accuracy on the test rows: mean ± half-width of the 95 % Student interval over {count} "
        "seeds.\n"
    )
    (given.out / "table.md").write_text("\n".join(parts))
    picture(curves).savefig(given.out / "curves.png", dpi=150)
    print(f"Tables: {given.out / 'table.md'}, {given.out / 'curves.png'}")


if __name__ == "__main__":
    main()
