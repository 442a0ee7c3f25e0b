"""A person's mistakes: one sentence on the error stream, exit status 2, nothing left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mmfuse.cli import main

CONFIG = {
    "trainer": {"max_epochs": 1, "default_root_dir": "runs", "enable_progress_bar": False},
    "model": {"fusion": "GatedFusion"},
    "data": {"class_path": "CatalogueData", "init_args": {"name": "breast_cancer_blocks"}},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    return "config.yaml"


def refused(capsys, *words):
    assert main(list(words)) == 2
    told = capsys.readouterr().err
    assert told.startswith("mmfuse: ")
    assert "Traceback" not in told
    return told


def test_help_lists_every_command(capsys):
    assert main([]) == 0
    told = capsys.readouterr().out
    commands = (
        *("fit", "validate", "test", "predict", "extract", "search"),
        *("robustness", "retrieve", "compare", "merge", "list"),
    )
    for command in commands:
        assert f"\n  {command} " in told


def test_a_mistyped_command_gets_the_nearest(capsys):
    assert "Did you mean 'robustness'?" in refused(capsys, "robustnes")


def test_a_mistyped_list_gets_the_nearest(capsys):
    assert "Did you mean 'fusion'?" in refused(capsys, "list", "fusions")


def test_retrieval_of_nothing_says_what_it_takes(capsys):
    told = refused(capsys, "retrieve")
    assert "--ckpt_path" in told
    assert "--features" in told


@pytest.mark.parametrize(
    "kind",
    [
        *("encoders", "fusion", "objectives", "missing", "data", "catalogue"),
        *(
            "interactions",
            "splits",
            "users",
            "backbones",
            "ranking",
            "suites",
            "corruptions",
            "distillation",
        ),
    ],
)
def test_list_says_what_each_component_does(capsys, kind):
    assert main(["list", kind]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


@pytest.mark.parametrize("words", [["list"], ["list", "--help"]])
def test_list_alone_says_of_what_there_are_lists(capsys, words):
    assert main(words) == 0
    told = capsys.readouterr().out
    names = [line.split()[0] for line in told.splitlines()[1:-1]]
    assert {"encoders", "fusion", "catalogue", "ranking"} <= set(names)
    for name in names:
        assert main(["list", name]) == 0


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--model.fusion=GatedFusoin", "Did you mean 'GatedFusion'?"),
        ("--model.fusion.hiden=3", "GatedFusion has no option 'hiden'. It has: out_dim"),
        ("--model.encoders={mean: MLPEncode}", "Did you mean 'MLPEncoder'?"),
        ("--model.encoders={mean: MLPEncoder}", "the data has ['mean', 'error', 'worst']"),
        ("--data.name=breast_cancer", "Did you mean 'breast_cancer_blocks'?"),
        ("--data.val=1.5", "1.5"),
        ("--data.missing=LabelMNR", "Did you mean 'LabelMNAR'?"),
        ("--trainer.max_epochs=many", "max_epochs"),
        ("--model.optimizer=Adan", "Did you mean 'Adam'?"),
    ],
)
def test_a_wrong_option_is_named(config, capsys, option, told):
    assert told in refused(capsys, "fit", "--config", config, option)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--data.source=InteractionTabel", "Did you mean 'InteractionTable'?"),
        ("--data.split=RandomSplt", "Did you mean 'RandomSplit'?"),
        ("--data.items=NpzDat", "Did you mean 'NpzData'?"),
        ("--data.spilt=RandomSplit", "Did you mean 'split'?"),
        ("--model.backbone=LightGCM", "Did you mean 'LightGCN'?"),
        ("--model.user=UserVectorz", "Did you mean 'UserVectors'?"),
        ("--model.score=DotScor", "Did you mean 'DotScore'?"),
        ("--model.item.dmi=3", "Did you mean 'dim'?"),
        ("--model.objectives=[{class_path: BPRLos}]", "Did you mean 'BPRLoss'?"),
        ("--model.objectives=[{class_path: CLIPLos}]", "Did you mean 'CLIPLoss'?"),
    ],
)
def test_a_wrong_part_of_a_recommender_is_named(tmp_path, capsys, option, told):
    path = tmp_path / "recommender.yaml"
    path.write_text(
        """
        data:
          class_path: RecommendationData
          init_args: {source: {class_path: InteractionTable, init_args: {path: taken.csv}}}
        model:
          class_path: RecommendationTask
          init_args: {item: {class_path: ItemVectors}}
        """
    )
    assert told in refused(capsys, "fit", "--config", str(path), option)


def test_a_missing_configuration_is_named(capsys):
    assert "nowhere.yaml" in refused(capsys, "fit", "--config", "nowhere.yaml")


def test_a_missing_checkpoint_is_named(config, capsys):
    words = ("robustness", "--config", config, "--ckpt_path")
    assert "nowhere.ckpt" in refused(capsys, *words, "nowhere.ckpt")
    assert "there is no run" in refused(capsys, *words, "best")


def test_robustness_of_an_untrained_model_is_refused(config, capsys):
    assert "no trained model" in refused(capsys, "robustness", "--config", config)


def test_a_corrupt_checkpoint_is_refused(config, capsys):
    Path("broken.ckpt").write_bytes(b"not a checkpoint")
    for command in ("test", "predict", "robustness", "fit"):
        told = refused(capsys, command, "--config", config, "--ckpt_path", "broken.ckpt")
        assert "broken.ckpt" in told


def test_a_checkpoint_of_another_model_is_refused(config, capsys):
    assert main(["fit", "--config", config]) == 0
    words = ["test", "--config", config, "--ckpt_path", "best", "--model.fusion=MeanFusion"]
    told = refused(capsys, *words)
    assert "GatedFusion" in told
    assert "MeanFusion" in told


def test_an_output_folder_that_cannot_be_written_is_told_before_any_work(config, capsys):
    Path("taken").write_text("a file stands where the folder should be")
    told = refused(capsys, "fit", "--config", config, "--trainer.default_root_dir=taken/runs")
    assert "taken" in told
    assert main(["fit", "--config", config]) == 0
    words = ("robustness", "--config", config, "--ckpt_path", "best", "--out", "taken/report")
    assert "taken/report" in refused(capsys, *words)
    assert Path("taken").read_text().startswith("a file stands")


def test_an_interrupted_run_says_how_to_go_on(config):
    script = "import sys; from mmfuse.cli import main; sys.exit(main())"
    words = ["fit", "--config", config, "--trainer.max_epochs=100000"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(Path("runs").glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    told = _interrupted(process)
    assert process.returncode == 130, told
    assert told.strip().endswith("give the same command with --ckpt_path last")
    # As many epochs as the run that stopped, which was at nobody knows which.
    assert main([*words, "--ckpt_path=last", "--trainer.max_time=00:00:00:01"]) == 0


def test_going_on_with_fewer_epochs_than_are_done_is_refused(config, capsys):
    assert main(["fit", "--config", config, "--trainer.max_epochs=3"]) == 0
    told = refused(capsys, "fit", "--config", config, "--ckpt_path=last", "--trainer.max_epochs=1")
    assert "max_epochs" in told


def _interrupted(process: subprocess.Popen) -> str:
    """What the process says when Ctrl-C is pressed until it hears."""
    for _ in range(20):
        # Python drops an interruption that arrives while it destroys an object.
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=30)[1].decode()
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.communicate()[1].decode()
