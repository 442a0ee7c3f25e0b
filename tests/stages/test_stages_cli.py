"""One command that fits a list of stages, as a person uses it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest
import yaml

import mmfuse
from mmfuse.cli import main
from mmfuse.tasks import DistillationTask, SupervisedTask

STUDENT = {
    "teacher": "best:teacher",
    "encoders": {"error": {"class_path": "MLPEncoder", "init_args": {"hidden": [8]}}},
    "fusion": "ConcatFusion",
}
CONFIG = {
    "trainer": {"max_epochs": 1, "enable_progress_bar": False, "default_root_dir": "runs"},
    "data": {"class_path": "CatalogueData", "init_args": {"name": "breast_cancer_blocks"}},
    "model": {"fusion": "ConcatFusion"},
    "stages": [
        {"name": "teacher", "trainer": {"max_epochs": 2}},
        {"name": "refit", "model": {"modality_dropout": 0.3}},
        {"name": "student", "model": {"class_path": "DistillationTask", "init_args": STUDENT}},
    ],
}
GO_ON = "--ckpt_path=last"


def write(**changes):
    Path("stages.yaml").write_text(yaml.safe_dump(CONFIG | changes))


def with_stage(name, **own):
    """The list, in which a stage has other keys."""
    return [s | own if s["name"] == name else s for s in CONFIG["stages"]]


def fit(*words):
    return main(["fit", "--config", "stages.yaml", *words])


def versions():
    return {
        s["name"]: sorted(p.name for p in Path("runs", s["name"]).glob("version_*"))
        for s in CONFIG["stages"]
    }


def newest(name):
    return max(Path("runs", name).glob("version_*"), key=lambda p: int(p.name[8:]))


def refused(capsys, *words):
    assert main(list(words)) == 2
    told = capsys.readouterr().err
    assert told.startswith("mmfuse: ")
    return told


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write()
    return tmp_path


def test_stages_run_once_and_go_on_where_something_changed(here, capsys):
    assert fit() == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "Stage 1 of 3, teacher",
        "Stage 2 of 3, refit: starts from runs/teacher/version_0/checkpoints/best.ckpt",
        "Stage 3 of 3, student",
        "Best checkpoint: runs/student/version_0/checkpoints/best.ckpt",
    ]
    assert _epochs("teacher") == 2
    assert _epochs("refit") == _epochs("student") == 1
    config = yaml.safe_load(Path("runs/student/version_0/config.yaml").read_text())
    teacher = "runs/teacher/version_0/checkpoints/best.ckpt"
    assert config["model"]["init_args"]["teacher"] == teacher
    assert mmfuse.load("runs/student/version_0/checkpoints/best.ckpt").modalities == ("error",)

    # Nothing is left to do; what changes no result may change.
    assert fit(GO_ON, "--trainer.enable_model_summary=true") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == [
        f"Stage {n} of 3, {s['name']}: finished before" for n, s in enumerate(CONFIG["stages"], 1)
    ]
    assert told[3] == "Best checkpoint: runs/student/version_0/checkpoints/best.ckpt"

    # A stage that changed runs anew with those that read it, and no other.
    write(stages=with_stage("refit", model={"modality_dropout": 0.4}))
    assert fit(GO_ON) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("finished before")
    assert told[1].startswith("Stage 2 of 3, refit: runs anew, as model.init_args.modality_dropout")
    assert "version_0 has 0.3" in told[1]
    assert told[2].endswith("finished before")
    assert versions() == {
        "teacher": ["version_0"], "refit": ["version_0", "version_1"], "student": ["version_0"]
    }  # fmt: skip
    write()
    assert fit(GO_ON, "--trainer.max_epochs=1") == 0
    told = capsys.readouterr().out.splitlines()
    assert "trainer.max_epochs: version_0 has 2, the configuration has 1" in told[0]
    assert told[1].startswith("Stage 2 of 3, refit: runs anew, as teacher ran anew")
    assert told[2].startswith("Stage 3 of 3, student: runs anew, as teacher ran anew")

    # What was there before is found again, as configurations tell.
    assert fit(GO_ON) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[2:] == [
        "Stage 3 of 3, student: finished before",
        "Best checkpoint: runs/student/version_0/checkpoints/best.ckpt",
    ]
    assert len(versions()["student"]) == 2


@pytest.mark.slow
def test_every_command_but_compare_is_about_the_last_stage(here, capsys):
    assert fit() == 0
    for command in ("test", "predict"):
        assert main([command, "--config=stages.yaml", "--ckpt_path=best"]) == 0
    told = capsys.readouterr().out
    path = Path(told.strip().splitlines()[-1].removeprefix("Predictions: "))
    assert path.parents[1] == Path("runs/student")
    assert len(pd.read_parquet(path)) > 0
    words = ["--config=stages.yaml", "--ckpt_path=best"]
    assert main(["robustness", *words, "--out=report", "--bootstrap=5"]) == 0
    assert json.loads(Path("report/meta.json").read_text())
    assert main(["extract", *words, "--out=features", "--split=test"]) == 0
    assert list(Path("features").rglob("*.parquet"))
    assert "config.yaml" in refused(capsys, "compare", "--config=stages.yaml")


def _epochs(name):
    return pd.read_csv(newest(name) / "metrics.csv")["val/loss"].notna().sum()


# Stops.


@pytest.fixture
def interrupt_in(monkeypatch):
    """Presses Ctrl-C once, in an epoch of a stage."""
    before = signal.getsignal(signal.SIGINT)

    def arrange(stage, epoch):
        original, done = SupervisedTask.training_step, []

        def step(self, batch, batch_idx):
            is_there = Path(self.trainer.default_root_dir).name == stage
            if is_there and self.current_epoch == epoch and not done:
                done.append(True)
                signal.raise_signal(signal.SIGINT)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(SupervisedTask, "training_step", step)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield arrange
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_list_goes_on_at_the_stage_where_it_stopped(here, interrupt_in, capsys):
    write(trainer=CONFIG["trainer"] | {"max_epochs": 3})
    interrupt_in("refit", epoch=2)
    assert fit() == 130
    told = capsys.readouterr()
    assert told.err.strip().endswith("give the same command with --ckpt_path last")
    assert "Best checkpoint" not in told.out
    assert versions()["student"] == []
    assert fit(GO_ON) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == [
        "Stage 1 of 3, teacher: finished before",
        "Stage 2 of 3, refit: goes on from runs/refit/version_0/checkpoints/last.ckpt",
        "Stage 3 of 3, student",
    ]
    assert _epochs("refit") == 1
    assert json.loads((newest("refit") / "stage.json").read_text())["after"] == "version_0"


def test_a_stage_that_fails_is_named_and_those_before_it_are_kept(here, monkeypatch, capsys):
    def full(self, *args, **kwargs):
        raise mmfuse.errors.DataError("Nothing fits.")

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTask, "losses", full)
        told = refused(capsys, "fit", "--config=stages.yaml")
    assert told.startswith("mmfuse: Stage 'student': Nothing fits. The stages before it are kept")
    assert fit(GO_ON) == 0
    assert capsys.readouterr().out.count("finished before") == 2


def test_a_list_that_never_ran_cannot_go_on(here, capsys):
    told = refused(capsys, "fit", "--config=stages.yaml", GO_ON)
    assert "No stage has a run in runs" in told
    assert not Path("runs").exists()


# Mistakes, told before anything trains.


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (with_stage("student", modle={}), "Stage 'student' has 'modle'"),
        (with_stage("student", model={"fusion": "GatedFusoin"}), "Did you mean 'GatedFusion'?"),
        (with_stage("student", trainer={"max_epoch": 1}), "Stage 'student': "),
        (
            with_stage(
                "student",
                model={
                    "class_path": "DistillationTask",
                    "init_args": STUDENT | {"distillation": []},
                },
            ),
            "Stage 'student': DistillationTask: distillation is empty",
        ),
        (
            with_stage("student", start_from="best:refti"),
            "Stage 'student': 'best:refti' names no stage before it, whose best checkpoint it "
            "could take. Did you mean 'best:refit'? Before it: teacher, refit.",
        ),
        (with_stage("teacher", start_from="best:student"), "It is the first stage."),
        (with_stage("student", start_from="nowhere.ckpt"), "no checkpoint at nowhere.ckpt"),
        (with_stage("student", trainer={"fast_dev_run": True}), "Stage 'student': Its Trainer"),
        (with_stage("student", trainer={"logger": False}), "Stage 'student': Its Trainer"),
    ],
)
def test_a_mistake_in_a_stage_costs_no_training(here, capsys, stages, told):
    write(stages=stages)
    assert told in refused(capsys, "fit", "--config=stages.yaml")
    assert not list(Path().rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--ckpt_path=best", "ckpt_path is 'best'; of stages it can be last alone"),
        ("--start_from=old.ckpt", "--start_from would be of all stages"),
        ("--model=SupervisedTask", "--model would give every stage the same task"),
        ("--model.teacher=t.ckpt", "Stage 'teacher': "),
        ("--out=there", "unrecognized"),
    ],
)
def test_an_option_that_cannot_be_of_all_stages_is_refused(here, capsys, option, told):
    assert told in refused(capsys, "fit", "--config=stages.yaml", option)
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.ckpt"))


def test_two_lists_are_one_too_many(here, capsys):
    words = ("fit", "--config=stages.yaml", "--config=stages.yaml")
    assert "Two configurations list stages" in refused(capsys, *words)


def test_stages_that_never_ran_have_nothing_to_test(here, capsys):
    told = refused(capsys, "test", "--config=stages.yaml", "--ckpt_path=best")
    assert "runs/student" in told
