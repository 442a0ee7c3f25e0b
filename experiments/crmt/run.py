"""What does CRMT's training buy, under attacks that know of its loss and when a modality is gone?

Spoken and written digits, fifteen ways of training, five seeds. Lines are added to scores.csv as
each training ends; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmfuse import ArrayData, Batch, FusionModel, SupervisedTask, Trainer
from mmfuse.compare.table import interval
from mmfuse.fusion import CRMTFusion
from mmfuse.missing import FixedPattern
from mmfuse.objectives import (
    AdversarialLoss,
    CRMTMargin,
    CRMTMixMargin,
    Objective,
    SupervisedLoss,
    UnimodalLoss,
)
from mmfuse.robustness import Condition, complete, evaluate, radii
from mmfuse.robustness.attacks import PGD, attack_curves
from mmfuse.runs import hush
from mmfuse.tasks import CRMTWeightsTask

sys.path.insert(0, str(Path(__file__).parents[1]))
from columns import Columns
from progress import append, is_done

EPOCHS, BATCH = 25, 64
BUDGETS = (1.0, 2.0, 4.0)
#: Of adversarial training, in lengths of what is moved: what the authors take for inputs, and ten
#: times that. Validation rows choose, by what an attack of length ``CHOOSING`` leaves.
RADII, CHOOSING = (0.1, 1.0), 2.0
BOTH = "sound + image"
BASELINE = "logistic regression"
MLP = {"class_path": "MLPEncoder", "init_args": {"hidden": [64], "out_dim": 64}}
LIPSCHITZ = {"class_path": "LipschitzMLPEncoder", "init_args": {"hidden": [64], "out_dim": 64}}


@dataclass(frozen=True)
class Training:
    """A way of training.

    Args:
        fusion: the fusion's name.
        objectives: makes them.
        encoder: of either modality.
        weights: whether CRMT's step 2 follows.
        is_adversarial: whether ``objectives`` takes one of ``RADII``.
    """

    fusion: str
    objectives: Callable[..., list[Objective]]
    encoder: dict[str, Any] = field(default_factory=lambda: MLP)
    weights: bool = False
    is_adversarial: bool = False


def instead(
    objective: Callable[..., Objective], **options: float | str
) -> Callable[..., list[Objective]]:
    """An objective in place of the supervised loss."""
    return lambda **more: [SupervisedLoss(weight=0.0), objective(**options, **more)]


TRAININGS = {
    "joint": Training("ConcatFusion", lambda: [SupervisedLoss()]),
    "unimodal heads": Training("ConcatFusion", lambda: [SupervisedLoss(), UnimodalLoss()]),
    "CRMT's head": Training("CRMTFusion", lambda: [SupervisedLoss()]),
    "head, unimodal": Training("CRMTFusion", lambda: [SupervisedLoss(), UnimodalLoss()]),
    "step 1": Training("CRMTFusion", lambda: [SupervisedLoss(), CRMTMargin()]),
    "steps 1, 2": Training("CRMTFusion", lambda: [SupervisedLoss(), CRMTMargin()], weights=True),
    "step 1, Lipschitz": Training(
        "CRMTFusion", lambda: [SupervisedLoss(), CRMTMargin()], encoder=LIPSCHITZ
    ),
    **{
        f"{name}, adversarial {on}": Training(
            fusion, instead(AdversarialLoss, on=on, **options), is_adversarial=True
        )
        for on in ("tokens", "inputs")
        for name, fusion, options in (
            ("joint", "ConcatFusion", {}),
            ("head", "CRMTFusion", {}),
            ("step 1", "CRMTFusion", {"margin": 2.0}),
        )
    },
    "head, mixup": Training("CRMTFusion", instead(CRMTMixMargin, margin=0.0)),
    "step 1, mixup": Training("CRMTFusion", instead(CRMTMixMargin, margin=2.0)),
}


def fitted(training: Training, data: ArrayData, seed: int, epochs: int) -> FusionModel:
    """The model of the last epoch: none is chosen."""
    L.seed_everything(seed, verbose=False)
    encoders = dict.fromkeys(data.spec.modalities, training.encoder)
    with TemporaryDirectory() as folder:
        quiet: dict[str, Any] = {
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "limit_val_batches": 0,
            "default_root_dir": folder,
        }
        task = SupervisedTask(encoders, training.fusion, training.objectives())
        trainer = Trainer(max_epochs=epochs, enable_checkpointing=False, **quiet)
        trainer.fit(task, datamodule=data)
        if not training.weights:
            return task.model
        path = Path(folder) / "step1.ckpt"
        trainer.save_checkpoint(path, weights_only=True)
        second = CRMTWeightsTask(encoders, "CRMTFusion")
        # The authors take a third of the epochs.
        last = Trainer(max_epochs=max(epochs // 3, 1), enable_checkpointing=False, **quiet)
        last.fit(second, datamodule=data, start_from=path)
        return second.model


def chosen(
    training: Training, data: ArrayData, seed: int, epochs: int, steps: int
) -> tuple[FusionModel, float]:
    """Of adversarial trainings with each of ``RADII`` the best on validation rows; its radius."""
    rows, found = list(data.loader("val")), []
    for radius in RADII:
        own = replace(training, objectives=partial(training.objectives, radius=radius))
        model = fitted(own, data, seed, epochs)
        attacked = attack_curves(model, rows, [CHOOSING], [PGD(steps=steps)], bootstrap=0)
        found.append((float(attacked.worst(BOTH)["accuracy"].iloc[0]), model, radius))
    _, model, radius = max(found, key=lambda f: f[0])
    return model, radius


def measured(model: FusionModel, data: ArrayData, steps: int) -> pd.DataFrame:
    """Accuracy under attack and absence, and what radii say of attacks that succeed."""
    rows = list(data.loader("test"))
    lines: list[tuple[str, str, float, float]] = []
    attacked = attack_curves(model, rows, BUDGETS, [PGD(steps=steps)], bootstrap=0)
    for _, line in attacked.table.iterrows():
        name = {"ce": "PGD on CE", "margin": "PGD on the margin"}.get(line["loss"])
        name = "worst" if line["attack"] == "worst" else name
        if name is not None:
            lines.append((name, line["attacked"], line["budget"], line["accuracy"]))
    gone = [Condition(f"only {m}", "subset", 0.0, FixedPattern([m])) for m in model.modalities]
    found = evaluate(
        model, rows, data.facts("test"), [complete(), *gone], bootstrap=0, importance=False
    )
    for _, line in found.main("y").iterrows():
        lines.append(("accuracy", line["condition"], 0.0, line["value"]))
    fell = attacked.rows[attacked.rows["attacked"] == BOTH].set_index("row")["broken_at"]
    kinds: dict[str, list[Batch] | None] = {"estimated": list(data.loader("train"))}
    if isinstance(model.fusion, CRMTFusion):
        kinds["certified"] = None
    for kind, estimate_on in kinds.items():
        table = radii(model, rows, estimate_on=estimate_on).table
        mine = table[table["attacked"] == BOTH].set_index("row")
        right = mine["label"] == mine["predicted"]
        lines.append(("mean radius", kind, 0.0, float(mine.loc[right, "radius"].mean())))
        for budget in BUDGETS:
            safe = right & (mine["radius"] > budget)
            broken = safe & (fell.reindex(mine.index) <= budget)
            lines.append(("radius above", kind, budget, float(safe.mean())))
            lines.append(("radius broken", kind, budget, float(broken.sum())))
    return pd.DataFrame(lines, columns=["what", "of", "budget", "value"])


def baseline(data: ArrayData) -> pd.DataFrame:
    """Logistic regression on both modalities, and one on each alone."""
    x = {
        split: {
            m: np.asarray(c.take(data.rows(split).numpy()))
            for m, c in data.dataset(split).columns.items()
        }
        for split in ("train", "test")
    }
    y = {s: data.dataset(s).targets["y"][data.rows(s)].numpy() for s in ("train", "test")}
    lines = []
    for name, used in {
        "complete": list(x["train"]),
        "sound": ["sound"],
        "image": ["image"],
    }.items():
        joined = {s: np.concatenate([x[s][m] for m in used], axis=1) for s in x}
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        score = model.fit(joined["train"], y["train"]).score(joined["test"], y["test"])
        of = name if name == "complete" else f"only {name}"
        lines.append(("accuracy", of, 0.0, score))
    return pd.DataFrame(lines, columns=["what", "of", "budget", "value"])


#: What a training adds its own to.
_WITHOUT = {
    **{f"joint, adversarial {on}": "joint" for on in ("tokens", "inputs")},
    **{f"head, adversarial {on}": "CRMT's head" for on in ("tokens", "inputs")},
    **{f"step 1, adversarial {on}": "step 1" for on in ("tokens", "inputs")},
    "head, mixup": "CRMT's head",
    "step 1, mixup": "step 1",
    "steps 1, 2": "step 1",
}
#: Columns of the tables: a title, and where the values stand.
_ATTACKS = {
    "clean": ("accuracy", "complete", 0.0),
    **{f"PGD on CE, {b:g}": ("PGD on CE", BOTH, b) for b in BUDGETS},
    **{f"PGD on the margin, {b:g}": ("PGD on the margin", BOTH, b) for b in BUDGETS},
}
_ALONE = {
    "worst attack on sound, 2": ("worst", "sound", 2.0),
    "worst attack on image, 2": ("worst", "image", 2.0),
    "sound alone": ("accuracy", "only sound", 0.0),
    "image alone": ("accuracy", "only image", 0.0),
}


def tables(scores: pd.DataFrame) -> str:
    """Attacks; single modalities; what variants change; radii."""
    wide = scores.set_index(["training", "what", "of", "budget", "seed"])["value"].sort_index()
    names = [t for t in (*TRAININGS, BASELINE) if t in set(scores["training"])]
    parts = []
    for columns in (_ATTACKS, _ALONE):
        lines = [f"| training | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        lines += [_row(t, [wide.get((t, *where)) for where in columns.values()]) for t in names]
        parts.append("\n".join(lines))
    changed = ["clean", *(f"PGD on the margin, {b:g}" for b in BUDGETS)]
    lines = [f"| training | less | {' | '.join(changed)} |", "|---" * (len(changed) + 2) + "|"]
    for name, base in _WITHOUT.items():
        if name in names and base in names:
            pairs = [(wide[(name, *_ATTACKS[c])], wide[(base, *_ATTACKS[c])]) for c in changed]
            lines.append(_row(f"{name} | {base}", [one - other for one, other in pairs], "+"))
    parts.append("\n".join(lines))
    radius = [f"radius above {b:g}" for b in BUDGETS]
    titles = ["kind", "mean radius", *radius, *(f"of these broken, {b:g}" for b in BUDGETS)]
    lines = [f"| training | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for t, kind in [(t, kind) for t in names for kind in ("estimated", "certified")]:
        cells = [wide.get((t, "mean radius", kind, 0.0))]
        if cells[0] is None:
            continue
        cells += [wide.get((t, "radius above", kind, b)) for b in BUDGETS]
        broken = [wide.get((t, "radius broken", kind, b)).sum() for b in BUDGETS]
        row = _row(f"{t} | {kind}", cells).rstrip("|")
        lines.append(f"{row}| {' | '.join(f'{b:.0f}' for b in broken)} |")
    parts.append("\n".join(lines))
    seeds = scores["seed"].nunique()
    parts.append(
        f"Mean ± half-width of the 95 % Student interval over {seeds} seeds; differences "
        "are paired by seed; broken radii are counted over all seeds together."
    )
    return "\n\n".join(parts) + "\n"


def _row(name: str, values: list[pd.Series | None], sign: str = "") -> str:
    cells = []
    for value in values:
        if value is None:
            cells.append("")
            continue
        mean, half = interval(value.to_numpy(dtype=float))
        cells.append(f"{mean:{sign}.3f} ± {half:.3f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Runs what is not done and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--data", default="av_digits")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--steps", type=int, default=40, help="of each attack (%(default)s)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    hush()
    path = given.out / "scores.csv"
    read = None
    for seed in given.seeds:
        for name in (*TRAININGS, BASELINE):
            if is_done(path, {"training": name, "seed": seed}):
                continue
            read = read or Columns.of(given.data)
            data = read.data(seed, batch_size=BATCH)
            if name == BASELINE:
                found = baseline(data)
            elif TRAININGS[name].is_adversarial:
                model, radius = chosen(TRAININGS[name], data, seed, given.epochs, given.steps)
                found = measured(model, data, given.steps)
                found.loc[len(found)] = ["chosen radius", "training", 0.0, radius]
            else:
                model = fitted(TRAININGS[name], data, seed, given.epochs)
                found = measured(model, data, given.steps)
            append(found.assign(training=name, seed=seed), path)
            print(f"{name}, seed {seed}: done", flush=True)
    told = tables(pd.read_csv(path))
    (given.out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
