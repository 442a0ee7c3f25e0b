"""M3CoL on ROSMAP, tuned on validation rows alone; goes on where it stopped.

A trial is scored by the mean over splits of the training rows into 196 that train and 49 that
validate: of each the highest AUROC that an epoch reached. No test row is read. The best setting
goes to chosen.json, which run.py takes.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import optuna
from setting import PAPER, XavierInit, contrast, data, task

from mmfuse import Trainer

HERE = Path(__file__).parent
#: Splits and weights of the trials; the seeds of the tables are others.
SEEDS = (100, 101, 102, 103)


class Watch(L.Callback):
    """The validation AUROC of every epoch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the epoch's."""
        if not trainer.sanity_checking:
            self.values.append(float(trainer.callback_metrics["val/auroc"]))


def drawn(trial: optuna.Trial) -> dict[str, Any]:
    """A setting to try."""
    return {
        "width": trial.suggest_categorical("width", [64, 128, 256, 512]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.7, step=0.1),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 3e-2, log=True),
        "lr": trial.suggest_float("lr", 2e-4, 5e-3, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 245]),
        "phase": trial.suggest_float("phase", 0.1, 0.9, step=0.1),
        "weight": trial.suggest_float("weight", 0.01, 1.0, log=True),
    }


def score(setting: dict[str, Any], seed: int, epochs: int) -> float:
    """The highest validation AUROC of one run."""
    L.seed_everything(seed, verbose=False)
    watch = Watch()
    trainer = Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[watch, XavierInit()],
        num_sanity_val_steps=0,
    )
    losses = contrast(setting["weight"], setting["phase"])["M3CoL"]
    trainer.fit(task(losses, setting), datamodule=data(setting, seed=seed))
    return max(watch.values)


def main() -> None:
    """Tries settings until there are as many trials as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=HERE, help="of trials.csv and chosen.json")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        storage=f"sqlite:///{given.out / 'trials.db'}",
        study_name="m3col",
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial({**PAPER, "width": 256, "phase": 0.3})

    def objective(trial: optuna.Trial) -> float:
        setting = drawn(trial)
        found = [score(setting, seed, given.epochs) for seed in SEEDS]
        trial.set_user_attr("splits", found)
        return sum(found) / len(found)

    def written(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        frame = study.trials_dataframe(attrs=("number", "value", "params", "state"))
        frame.to_csv(given.out / "trials.csv", index=False)
        (given.out / "chosen.json").write_text(json.dumps(study.best_params, indent=2) + "\n")
        print(f"trial {trial.number}: {trial.value:.4f}; best {study.best_value:.4f}", flush=True)

    done = sum(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)
    study.optimize(objective, n_trials=max(0, given.trials - done), callbacks=[written])
    print(f"Chosen: {given.out / 'chosen.json'}")


if __name__ == "__main__":
    main()
