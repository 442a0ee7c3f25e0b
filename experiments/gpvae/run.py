"""Does an MM-GPVAE recover latents that were planted, and infer a series that is absent?

Five seeds of planted_trials.py; the seed draws everything, the first weights too. Lines are added
to scores.csv as each seed ends; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from planted_trials import TRIALS, Planted, planted
from sklearn.linear_model import LinearRegression, Ridge

from mmfuse import ArrayData, Trainer
from mmfuse.compare.table import interval
from mmfuse.gpvae import MMGPVAE, Series
from mmfuse.tasks import GPVAETask

TRAIN, VAL = 200, 40
EPOCHS, BATCH, RATE = 80, 20, 5e-3
#: Steps before and after that the wider regression reads.
AROUND = 5
MODALITIES = ("spikes", "signal")


def fitted(trials: Planted, seed: int, epochs: int) -> tuple[MMGPVAE, ArrayData]:
    """A model of one shared and two private latents; the last epoch counts."""
    L.seed_everything(seed, verbose=False)
    split = np.repeat(["train", "val", "test"], [TRAIN, VAL, TRIALS - TRAIN - VAL])
    inputs = {m: getattr(trials, m).astype(np.float32) for m in MODALITIES}
    data = ArrayData(
        inputs,
        kinds=dict.fromkeys(MODALITIES, "series"),
        split=split,
        seed=seed,
        batch_size=BATCH,
    )
    task = GPVAETask(
        {"spikes": Series("poisson"), "signal": Series(decoder=(64,))},
        optimizer=functools.partial(torch.optim.Adam, lr=RATE),
        scheduler=functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
        modality_dropout=0.3,
        dropout_seed=seed,
    )
    trainer = Trainer(
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    trainer.fit(task, datamodule=data)
    return task.model.eval(), data


def r2(wanted: np.ndarray, found: np.ndarray) -> float:
    """Share of the variance about each channel's mean that is explained."""
    spread = wanted - wanted.mean(axis=tuple(range(wanted.ndim - 1)))
    return 1 - float(np.square(wanted - found).sum() / np.square(spread).sum())


@torch.no_grad()
def latents_of(model: MMGPVAE, data: ArrayData, split: str) -> np.ndarray:
    """The posterior mean of each latent at each step, in the order of the rows."""
    found = [model.infer(b).over_time for b in data.loader(split)]  # type: ignore[arg-type]
    return torch.cat(found).numpy()


def recovered(model: MMGPVAE, data: ArrayData, trials: Planted) -> list[dict[str, object]]:
    """R^2 of planted latents after a linear map of the inferred ones, fitted on training rows."""
    inferred = {s: latents_of(model, data, s) for s in ("train", "test")}
    rows = {"train": slice(TRAIN), "test": slice(TRAIN + VAL, None)}
    lines = []
    for name, planted_one in trials.latents.items():
        own = [i for i, n in enumerate(model.names) if n.startswith(name)]
        for read, columns in (("own block", own), ("all", range(model.latents))):
            x = {s: inferred[s][..., list(columns)].reshape(-1, len(columns)) for s in rows}
            y = {s: planted_one[part].reshape(-1, 1) for s, part in rows.items()}
            line = LinearRegression().fit(x["train"], y["train"])
            value = r2(y["test"], line.predict(x["test"]))
            lines.append({"what": f"latent {name}", "by": f"MM-GPVAE, {read}", "value": value})
    return lines


@torch.no_grad()
def through_absence(model: MMGPVAE, data: ArrayData, trials: Planted) -> list[dict[str, object]]:
    """R^2 of each series of the test rows, from the other alone."""
    test, train, lines = slice(TRAIN + VAL, None), slice(TRAIN), []
    for absent in MODALITIES:
        (other,) = set(MODALITIES) - {absent}
        wanted, seen = getattr(trials, absent).astype(float), getattr(trials, other).astype(float)
        inferred = torch.cat(
            [model.reconstruct(model.infer(b.only([other])))[absent] for b in data.loader("test")]
        )
        found = {
            "MM-GPVAE": inferred.numpy(),
            "the shared latent itself": trials.expected[absent][test],
        }
        for name, x in (
            ("ridge, each step", seen),
            (f"ridge, {AROUND} steps around", around(seen)),
        ):
            flat = [v[part].reshape(-1, v.shape[2]) for v in (x, wanted) for part in (train, test)]
            mean, spread = flat[0].mean(0), flat[0].std(0) + 1e-9
            line = Ridge(100.0).fit((flat[0] - mean) / spread, flat[2])
            found[name] = line.predict((flat[1] - mean) / spread).reshape(wanted[test].shape)
        mean = wanted[train].mean((0, 1))
        found["the mean"] = np.broadcast_to(mean, wanted[test].shape)
        lines += [
            {"what": f"{absent} from {other}", "by": name, "value": r2(wanted[test], x)}
            for name, x in found.items()
        ]
    return lines


def around(x: np.ndarray) -> np.ndarray:
    """Each step with those before and after it, the ends repeated."""
    padded = np.pad(x, ((0, 0), (AROUND, AROUND), (0, 0)), mode="edge")
    return np.concatenate([padded[:, i : i + x.shape[1]] for i in range(2 * AROUND + 1)], axis=2)


def table(scores: pd.DataFrame) -> str:
    """Mean and interval over seeds."""
    lines = ["| what | by | R² |", "|---|---|---|"]
    for (what, by), own in scores.groupby(["what", "by"], sort=False):
        mean, half = interval(own["value"].to_numpy())
        lines.append(f"| {what} | {by} | {mean:.3f} ± {half:.3f} |")
    wide = scores.set_index(["what", "by", "seed"])["value"].sort_index()
    for what in (w for w in dict.fromkeys(scores["what"]) if "from" in w):
        for other in ("ridge, each step", f"ridge, {AROUND} steps around"):
            less = wide[what, "MM-GPVAE"] - wide[what, other]
            mean, half = interval(less.to_numpy())
            lines.append(f"| {what} | MM-GPVAE less {other} | {mean:+.3f} ± {half:.3f} |")
    count = scores["seed"].nunique()
    lines.append(f"\nMean ± half-width of the 95 % Student interval over {count} seeds.\n")
    return "\n".join(lines)


def main() -> None:
    """Runs what is not done and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "scores.csv"
    for seed in given.seeds:
        done = pd.read_csv(path) if path.exists() else pd.DataFrame({"seed": []})
        if (done["seed"] == seed).any():
            continue
        trials = planted(seed)
        model, data = fitted(trials, seed, given.epochs)
        lines = recovered(model, data, trials) + through_absence(model, data, trials)
        own = pd.DataFrame([{"seed": seed, **line} for line in lines])
        part = path.with_suffix(".part")
        (pd.concat([done, own]) if len(done) else own).to_csv(
            part, index=False, float_format="%.6f"
        )
        part.replace(path)
        print(f"seed {seed}: done", flush=True)
    told = table(pd.read_csv(path))
    (given.out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
