"""What does a student of one modality learn from a teacher of two? Seven ways, two sets.

The weight of each way's distillation is chosen by validation rows; the test rows are read once, by
the chosen students. Lines are added to trials.csv and scores.csv of the set's folder as each run
ends; what stands there is not run again, nor is a fit whose checkpoint is in the folder of runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import clips
import digits
import pandas as pd
from setting import Setting
from stages import ALONE, LONGER, WAYS, Study
from tables import chosen, table

from mmfuse.runs import hush

sys.path.insert(0, str(Path(__file__).parents[1]))
from progress import append, is_done

SETTINGS: Mapping[str, Callable[[Path], Setting]] = {
    "esc10": clips.setting,
    "av_digits": lambda _: digits.setting(),
}
WEIGHTS = (0.1, 1.0)


def add(
    path: Path, study: Study, key: Mapping[str, Any], make: Callable[[], Mapping[str, float]]
) -> None:
    """Adds a line to a file, unless one of the same key stands there."""
    key = {"test": study.test, "seed": study.seed, **key}
    if not is_done(path, key):
        append([{**key, **make()}], path)
        print(*key.values(), flush=True)


def tried(study: Study, path: Path) -> None:
    """Every way and weight, scored on validation rows."""
    for student in study.setting.pairs:
        for name in (ALONE, LONGER, *WAYS):
            for weight in WEIGHTS if name in WAYS else (0.0,):
                key = {"student": student, "way": name, "weight": weight}
                add(path, study, key, partial(_scored, study, student, name, weight, "val"))


def tested(study: Study, weights: Mapping[tuple[str, str, Any], float], path: Path) -> None:
    """The chosen students and what stands beside them, scored on test rows."""
    for student, other in study.setting.pairs.items():
        line = partial(add, path, study)
        for name in (ALONE, LONGER, *WAYS):
            weight = weights[student, name, study.test]
            told = {"weight": weight if name in WAYS else float("nan")}
            line(
                {"student": student, "way": name},
                lambda n=name, w=weight, t=told, s=student: t | _scored(study, s, n, w, "test"),
            )
        line(
            {"student": student, "way": "teacher, both modalities"},
            lambda s=student: study.scores(study.teacher(s), "test"),
        )
        for name, modalities in {
            student: [student],
            other: [other],
            "both": study.pair(student),
        }.items():
            line(
                {"student": student, "way": f"logistic regression, {name}"},
                partial(study.regression, *modalities),
            )


def _scored(study: Study, student: str, name: str, weight: float, split: str) -> dict[str, float]:
    return study.scores(study.student(student, name, weight), split)


def main() -> None:
    """Runs what is not done and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETTINGS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="of the tables")
    parser.add_argument("--runs", type=Path, default=Path("runs/distill"), help="of checkpoints")
    parser.add_argument("--tests", nargs="+", help="some of the parts that test, such as folds")
    parser.add_argument("--seeds", nargs="+", type=int, help="some of the seeds")
    parser.add_argument("--epochs", type=int, help="other than the setting's, of every fit")
    given = parser.parse_args()
    hush()
    setting = SETTINGS[given.set](given.runs)
    if given.epochs:
        epochs = dict.fromkeys(("epochs", "co_training", "specialisation"), given.epochs)
        setting = replace(setting, **epochs)
    out = given.out / setting.name
    out.mkdir(parents=True, exist_ok=True)
    trials, scores = out / "trials.csv", out / "scores.csv"
    studies = [
        Study(setting, test, seed, given.runs)
        for seed in setting.seeds
        if given.seeds is None or seed in given.seeds
        for test in setting.tests
        if given.tests is None or str(test) in given.tests
    ]
    for study in studies:
        if study.seed in setting.searched:
            tried(study, trials)
    weights = chosen(pd.read_csv(trials))
    for study in studies:
        tested(study, weights, scores)
    told = table(pd.read_csv(scores), setting.unit)
    (out / "table.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
