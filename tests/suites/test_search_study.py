"""Robustness studies of aligned models, which predict no target."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L
import pytest
import yaml
from suite_models import QUIET, paired, planted

from mmfuse import AlignmentTask, Trainer
from mmfuse.cli import main
from mmfuse.errors import ConfigError
from mmfuse.robustness.findings import Findings
from mmfuse.suites import OOD, Attacks, Corruptions, Interactions, LeakCheck, Worst

needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


def study(aligned: Path, folder: Path, suites=(), **options) -> Findings:
    trainer = Trainer(default_root_dir=folder, **QUIET)
    found = trainer.robustness(
        None, options.pop("data", None) or paired(), aligned, out=folder, suites=list(suites),
        bootstrap=20, mcar_rates=[0.5], **options,
    )  # fmt: skip
    assert isinstance(found, Findings)
    return found


def test_a_study_shows_search_beside_chance_and_its_worst_rows(aligned, tmp_path):
    found = study(aligned, tmp_path, [Worst(rows=2)])
    scores = found.absence.main("→ left").set_index("condition")["value"]
    assert scores["complete"] > 5 * scores["nothing"]
    assert scores["nothing"] < scores["mcar 0.5"] < scores["complete"]
    assert found.baselines is None
    half = found.absence.main("→ left").query("condition == 'mcar 0.5'")
    assert half["realised_rate"].item() == pytest.approx(0.5, abs=0.2)  # rows may lose everything
    lost = found.absence.kept("mcar 0.5")
    assert (~lost).all(axis=1).any()
    worst = found.worst.rows
    table = found.absence.predictions.query("condition == 'complete' and target == '→ left'")
    assert (
        worst.query("target == '→ left'")["row"].iloc[0]
        == table.loc[table["prediction"].idxmax(), "row"]
    )
    assert worst["label"].eq("rank 1").all()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "random order" in page
    untested = page[page.index("What was not tested") :]
    assert "No classical model stands beside it" in untested
    assert "absence that the label decides" in untested
    assert "No input was corrupted" not in untested


@pytest.mark.parametrize(
    "suite", [Attacks(), Corruptions(), Interactions(), LeakCheck(), OOD({"other": planted()})]
)
def test_a_suite_that_reads_targets_is_refused_at_once(suite, aligned, tmp_path):
    with pytest.raises(ConfigError, match=f"{type(suite).__name__} studies what a model predicts"):
        study(aligned, tmp_path / "report", [suite])
    assert not list((tmp_path / "report").iterdir())


def test_classes_that_the_model_does_not_predict_are_no_target_of_suites(tmp_path):
    data = planted()
    L.seed_everything(0, verbose=False)
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(AlignmentTask(), datamodule=data)
    path = Path(trainer.checkpoint_callback.best_model_path)
    found = study(path, tmp_path / "report", data=planted())
    assert set(found.absence.meta["targets"]) == {"→ left", "→ right", "→ noise"}
    assert "map" in set(found.absence.conditions["metric"])
    assert "mnar" in set(found.absence.conditions["family"])
    with pytest.raises(ConfigError, match="predicts no target"):
        study(path, tmp_path / "report", [Attacks()], data=planted())


@needs_data
def test_the_command_studies_alignment_of_pictures_and_texts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [64], "out_dim": 32}}
    config = {
        "seed_everything": 0,
        "trainer": {"max_epochs": 8, "default_root_dir": "runs", "enable_progress_bar": False},
        "model": {
            "class_path": "AlignmentTask",
            "init_args": {"encoders": {"image": encoder, "text": encoder}},
        },
        "data": {"class_path": "CatalogueData", "init_args": {"name": "wikipedia"}},
    }
    Path("align.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", "align.yaml"]
    assert main(["fit", *words]) == 0
    study = [*words, "--ckpt_path", "best", "--bootstrap", "20"]
    assert main(["robustness", *study, "--out", "report"]) == 0
    found = Findings.load("report")
    for target, facts in found.absence.meta["targets"].items():
        assert facts["items"] == 693
        lines = found.absence.conditions
        lines = lines[(lines["condition"] == "complete") & (lines["target"] == target)]
        value = lines.set_index("metric")["value"]
        assert value["map"] > facts["chance"]["map"] + 0.03
        assert value["r_at_10"] > facts["chance"]["r_at_10"]
    assert main(["robustness", *study, "--out", "other", "--suites+=Attacks"]) == 2
    assert "Attacks studies what a model predicts" in capsys.readouterr().err
    assert not list(Path("other").iterdir())
    assert main(["report", "report", "again=report", "--out", "both"]) == 0
