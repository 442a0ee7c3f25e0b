"""Presets tuned on the validation pairs of a set with Optuna; goes on where it stopped.

python experiments/recommend/tune.py --data tiktok

A trial is one run with seed 100 and counts by the highest validation Recall@20 that an epoch
reached. No test pair is read. The first trial is the preset as it stands, the others are drawn from
spaces.yaml by TPE; one that is below the median of the earlier ones is given up. A preset's search
ends after so many trials, or when they took so many minutes of CPU. The best goes to
tuned/SET/PRESET.yaml, which run.py takes, and every trial to tuned/SET/trials/PRESET.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import optuna
import yaml
from training import NAMES, TUNED, changed, fitted, preset, task_of

from mmfuse.recommend import CatalogueInteractions, RecommendationData

#: The tables' seeds are others.
SEED = 100
HERE = Path(__file__).parent
ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
RATE, RATES = "optimizer.init_args.lr", [3e-4, 3e-2]
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3, "fused": True}}


class Watch(L.Callback):
    """The highest validation score so far; tells Optuna, which may give the trial up."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial, self.best, self.seen = trial, 0.0, 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes an evaluation's."""
        if trainer.sanity_checking:
            return
        self.best = max(self.best, float(trainer.callback_metrics["val/recall_at_20"]))
        self.trial.report(self.best, self.seen)
        self.seen += 1
        if self.trial.should_prune():
            raise optuna.TrialPruned


def with_optimizer(content: dict[str, Any]) -> dict[str, Any]:
    """The preset with the task's default optimizer written out, so that its rate can be set."""
    return changed(content, {"model.init_args.optimizer": ADAM})


def rounded(value: Any) -> Any:
    """Three digits of a number that was drawn from a range."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def drawn(trial: optuna.Trial, space: dict[str, list[Any]]) -> dict[str, Any]:
    """A setting to try, as values at paths."""
    values: dict[str, Any] = {}
    for path, choices in ({RATE: RATES} | space).items():
        if len(choices) == 2:
            values[path] = trial.suggest_float(path, *choices, log=True)
        else:
            values[path] = trial.suggest_categorical(path, choices)
    return values


def standing(content: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """The values that a preset has at some paths."""
    found = {}
    for path in paths:
        place: Any = content["model"]["init_args"]
        for step in path.split("."):
            place = place[int(step)] if isinstance(place, list) else place[step]
        found[path] = place
    return found


def tuned(name: str, data: str, given: argparse.Namespace) -> None:
    """Tries settings of one preset until the budget is spent."""
    space = yaml.safe_load((HERE / "spaces.yaml").read_text())[name]
    content = with_optimizer(preset(name))
    folder = given.out / data
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=5),
        storage=f"sqlite:///{folder / 'trials' / f'{name}.db'}",
        study_name=name,
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(standing(content, list({RATE: RATES} | space)))
    pairs = RecommendationData(CatalogueInteractions(data), seed=SEED)

    def setting(values: dict[str, Any]) -> dict[str, Any]:
        return changed(content, {f"model.init_args.{p}": v for p, v in values.items()})

    def objective(trial: optuna.Trial) -> float:
        watch, start = Watch(trial), time.process_time()
        try:
            with tempfile.TemporaryDirectory() as scratch:
                task = task_of(setting(drawn(trial, space)))
                fitted(task, pairs, SEED, given.epochs, scratch, callbacks=[watch])
        finally:
            trial.set_user_attr("cpu_minutes", (time.process_time() - start) / 60)
        return watch.best

    def written(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        frame = study.trials_dataframe(attrs=("number", "value", "params", "user_attrs", "state"))
        frame = frame[frame["state"].isin([state.name for state in ENDED])]
        frame.to_csv(folder / "trials" / f"{name}.csv", index=False, float_format="%.5g")
        head = f"# {name}, tuned on {data}: experiments/recommend/tune.py\n"
        best = {p: rounded(value) for p, value in study.best_params.items()}
        chosen = yaml.safe_dump(setting(best), sort_keys=False)
        (folder / f"{name}.yaml").write_text(head + chosen)
        value = "given up" if trial.value is None else f"{trial.value:.4f}"
        said = f"{data}, {name}, trial {trial.number}: {value}; best {study.best_value:.4f}"
        print(said, flush=True)

    while True:
        done = [t for t in study.trials if t.state in ENDED]
        spent = sum(t.user_attrs.get("cpu_minutes", 0.0) for t in done)
        if len(done) >= given.trials or spent >= given.minutes:
            break
        study.optimize(objective, n_trials=1, callbacks=[written])


def main() -> None:
    """Every preset on every set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["tiktok"], choices=["tiktok", "amazon_baby"])
    parser.add_argument("--presets", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--trials", type=int, default=20, help="at most, of a preset")
    parser.add_argument("--minutes", type=float, default=20, help="of CPU at most, of a preset")
    parser.add_argument("--epochs", type=int, default=80, help="at most, of a trial")
    parser.add_argument("--out", type=Path, default=TUNED)
    given = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for data in given.data:
        for name in given.presets:
            tuned(name, data, given)
    print(f"Tuned presets: {given.out}")


if __name__ == "__main__":
    main()
