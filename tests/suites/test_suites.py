"""Every suite on a trained model, and what is refused before anything is computed."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from suite_models import QUIET, Trained, planted, study

import mmfuse
from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.robustness.findings import Findings
from mmfuse.robustness.report import write_report
from mmfuse.suites import OOD, Attacks, Corruptions, Interactions, LeakCheck, Suite, Worst


@pytest.fixture(scope="module")
def everything(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with every suite."""
    folder = tmp_path_factory.mktemp("every") / "report"
    suites: list[Suite] = [
        Attacks(budgets=[0.1, 1.0], rows=20, steps=5),
        Corruptions(),
        LeakCheck(),
        Interactions(clusters=4, estimators=["clusters", "neural", "bounds"]),
        Worst(rows=3),
        OOD({"far away": planted(seed=1, shift=8.0)}, {"far away": "far"}),
    ]
    trained.trainer.robustness(
        trained.task, planted(), trained.checkpoint, out=folder, suites=suites, bootstrap=50
    )
    return folder


def test_all_that_was_found_is_read_back(everything: Path):
    found = Findings.load(everything)
    assert found.attacks is not None
    assert found.ood is not None
    assert found.interactions is not None
    assert found.worst is not None
    assert found.baselines is not None
    assert len(found.baselines)
    assert found.attacks.worst("left + right + noise")["accuracy"].is_monotonic_decreasing
    assert set(found.attacks.table["norm"]) == {"l2", "linf"}
    assert found.attacks.table["rows"].eq(20).all()
    assert found.attacks.meta["rows_of_split"] == found.absence.meta["rows"]


def test_a_budget_of_one_is_the_length_of_a_typical_row(everything: Path, trained: Trained):
    meta = Findings.load(everything).attacks.meta
    data = planted()
    model = mmfuse.load(trained.checkpoint)
    rows = torch.tensor(Findings.load(everything).attacks.rows["row"].unique().tolist())
    batch = data.dataset("test", missing=None).__getitems__(rows)
    for m, numbers in (("left", 3), ("right", 3)):
        values = model.standardise[m](batch.inputs[m][batch.present_rows[m]])
        length = float(values.norm(dim=1).median())
        assert meta["units"]["l2"][m] == pytest.approx(length, rel=1e-5)
        assert meta["units"]["linf"][m] == pytest.approx(length / numbers**0.5, rel=1e-5)


def test_rows_far_away_are_told_from_the_models_own(everything: Path):
    found = Findings.load(everything).ood
    auroc = found.table[found.table["metric"] == "auroc"].set_index("score")["value"]
    assert auroc["mahalanobis"] > 0.95
    assert "disagreement_l1" in auroc.index  # the checkpoint has unimodal heads
    assert found.table["shift"].eq("far").all()


def test_corruptions_of_what_tells_the_class_cost_more_than_of_noise(everything: Path):
    found = Findings.load(everything).corruptions
    table = found.main("y").query("measure == 'mean' and corruption == 'mean'")
    mean = table.set_index("modality")["value"]
    assert mean["left"] < mean["noise"] - 0.02


def test_a_modality_of_noise_is_worth_nothing_in_every_reading(everything: Path):
    found = Findings.load(everything).interactions
    worth = found.importance.pivot(index="reading", columns="modality", values="value")
    for reading in ("shapley", "permuted", "banzhaf", "leave_one_out"):
        assert worth.loc[reading, "left"] > 0.05 > abs(worth.loc[reading, "noise"])
    parts = found.pid.set_index(["estimator", "first", "second", "part"])["bits"]
    for estimator in ("clusters", "neural"):
        assert parts[estimator, "left", "right", "redundancy"] > 0.2
        assert parts[estimator, "left", "noise", "redundancy"] < 0.2
    assert len(found.pairs) == 3
    assert found.types["share"].sum() == pytest.approx(1)


def test_rows_tell_the_parts_that_they_are_the_means_of(everything: Path):
    found = Findings.load(everything)
    table = found.interactions
    keys = ["estimator", "first", "second"]
    mean = table.rows.groupby(keys)[["redundancy", "unique1", "unique2", "synergy"]].mean()
    parts = table.pid.pivot(index=keys, columns="part", values="bits")
    assert len(mean) == 6
    pd.testing.assert_frame_equal(mean, parts[list(mean)], atol=1e-5, check_names=False)
    assert set(table.rows["row"]) <= set(found.absence.predictions["row"])
    page = (everything / "report.html").read_text(encoding="utf-8")
    assert "What pairs of modalities say of these rows" in page


def test_bounds_of_synergy_come_from_rows_that_lack_a_modality_too(everything: Path):
    table = Findings.load(everything).interactions.bounds
    one = table[(table["first"] == "left") & (table["second"] == "right")]
    counts = one[["rows_first", "rows_second", "rows_both"]].iloc[0].tolist()
    assert counts[0] > counts[1] == counts[2]  # some rows lack the right view
    bits = one.set_index("part")["bits"]
    assert bits.filter(like="lower").max() <= bits["upper"] + 1e-9
    page = (everything / "report.html").read_text(encoding="utf-8")
    assert "synergy at least" in page
    assert "Bits by networks" in page


def test_networks_are_read_on_rows_that_they_were_not_fitted_to(trained: Trained, tmp_path: Path):
    suites = [Interactions(clusters=3, estimators=["neural"])]
    found = study(trained, tmp_path, suites, split="train")
    assert found.interactions.pid.empty
    assert all("not fitted to" in what for what in found.interactions.meta["left_out"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "not fitted to" in page[page.index("What was not tested") :]


def test_masks_that_follow_the_label_leak_and_those_of_chance_do_not(everything: Path):
    table = Findings.load(everything).leak.table
    best = table.groupby("family")["value"].max()
    assert best["mnar"] > 0.7
    assert best["mcar"] < 0.65
    page = (everything / "report.html").read_text(encoding="utf-8")
    assert "What the mask alone tells" in page


def test_complete_absence_has_structure_and_says_so(trained: Trained, tmp_path: Path):
    found = study(trained, tmp_path, [], absence="complete")
    families = set(found.absence.conditions["family"])
    assert {"one_lost", "block", "bursts", "imbalanced_mcar"} <= families
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "unequal rates" not in page[page.index("What was not tested") :]
    with pytest.raises(ConfigError, match="standard or complete"):
        study(trained, tmp_path, [], absence="full")


def test_the_worst_rows_are_those_of_the_lowest_probability_of_the_truth(everything: Path):
    found = Findings.load(everything)
    table = found.absence.predictions
    table = table[table["condition"] == "complete"]
    names = [f"class {k}" for k in range(3)]
    chance = table[[f"p_{n}" for n in names]].to_numpy()
    truth = chance[np.arange(len(table)), table["label"].astype(int)]
    expected = table["row"].to_numpy()[np.argsort(truth, kind="stable")[:3]]
    worst = found.worst.rows
    assert worst["row"].tolist() == expected.tolist()
    assert worst["loss"].to_numpy() == pytest.approx(1 - np.sort(truth)[:3], abs=1e-6)
    lacking = worst.loc[~_has(found, "right"), "only right"]
    assert lacking.eq("").all()
    assert set(found.worst.inputs["row"]) == set(worst["row"])


def _has(found: Findings, modality: str) -> np.ndarray:
    dataset = planted().dataset("test", missing=None)
    column = dataset.modalities.index(modality)
    return dataset.present.numpy()[found.worst.rows["row"].to_numpy(), column]


def test_the_page_shows_every_suite_and_says_what_was_not_tested(everything: Path):
    page = (everything / "report.html").read_text(encoding="utf-8")
    for title in (
        "Corrupted inputs",
        "If it may abstain",
        "Under attack",
        "Rows out of distribution",
        "Why: modalities",
        "The worst rows",
    ):
        assert f"<h3>{title}" in page
    untested = page[page.index("What was not tested") :]
    assert "No set out of distribution is marked as near" not in untested  # escaped or not
    assert "classes held out" in untested
    assert "No attack was run" not in untested


def test_a_study_of_absence_alone_says_so(trained: Trained, tmp_path: Path):
    study(trained, tmp_path, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No attack was run" in page
    assert "Under attack" not in page


def test_what_an_earlier_study_left_in_the_folder_goes(trained: Trained, tmp_path: Path):
    study(trained, tmp_path, [Worst(2)])
    assert (tmp_path / "worst").is_dir()
    study(trained, tmp_path, [])
    assert not (tmp_path / "worst").exists()
    assert Findings.load(tmp_path).worst is None


def test_several_studies_stand_side_by_side(everything: Path, trained: Trained, tmp_path, capsys):
    from mmfuse.cli import main

    study(trained, tmp_path / "plain" / "robustness", [Worst(2)])
    words = ["report", str(tmp_path / "plain" / "robustness"), f"full={everything}"]
    assert main([*words, "--out", str(tmp_path / "both")]) == 0
    told = capsys.readouterr().out
    assert told.strip().splitlines()[-1] == f"Report: {tmp_path / 'both' / 'report.html'}"
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert "Trained with, tested under" in page
    assert "<h4>plain</h4>" in page
    assert "<h4>full</h4>" in page
    assert len(page) < 5_000_000


def test_studies_of_other_rows_do_not_compare(everything: Path, trained: Trained, tmp_path, capsys):
    from mmfuse.cli import main

    study(trained, tmp_path / "val", [], split="val")
    assert main(["report", str(everything), str(tmp_path / "val"), "--out", str(tmp_path)]) == 2
    assert "other rows were evaluated" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "There is no robustness result in nowhere"),
        (["a/robustness", "b/../a/robustness"], "would be called 'a'"),
        ([], "the following arguments are required"),
    ],
)
def test_mistakes_of_a_comparison_are_told(words: list[str], told: str, capsys):
    from mmfuse.cli import main

    assert main(["report", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_corrupt_file_of_a_suite_is_told_of(everything: Path, tmp_path: Path):
    import shutil

    copy = shutil.copytree(everything, tmp_path / "copy")
    (copy / "attacks" / "table.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="attack result"):
        Findings.load(copy)
    (copy / "attacks" / "table.parquet").unlink()
    with pytest.raises(MissingFileError, match=r"table\.parquet is missing"):
        Findings.load(copy)


def test_an_ood_set_may_lack_modalities(trained: Trained, tmp_path: Path):
    draw = np.random.default_rng(0)
    other = ArrayData({"left": draw.normal(20, 1, (30, 3)), "more": draw.normal(size=(30, 1))})
    found = study(trained, tmp_path, [OOD({"half": other})])
    assert found.ood.rows["set"].eq("half").sum() == len(other.rows("test"))


def test_texts_are_attacked_by_their_tokens_and_shown_as_they_are(tmp_path: Path):
    words = ["a <b>red</b> apple", "one green leaf", "some red brick", "the green grass"] * 12
    pictures = [
        Image.fromarray(np.full((9, 9, 3), 255 * (i % 2), dtype=np.uint8)) if i % 5 else None
        for i in range(48)
    ]
    data = ArrayData(
        {"words": words, "look": pictures}, ["red", "green"] * 24, seed=0, on_duplicates="allow"
    )
    encoders = {
        "words": {"class_path": "HashedNgramEncoder", "init_args": {"out_dim": 8}},
        "look": {"class_path": "ImageCNNEncoder", "init_args": {"out_dim": 8}},
    }
    task = SupervisedTask(encoders)
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(task, datamodule=data)
    suites = [Attacks(budgets=[0.5], norms=["l2"], steps=2), Worst(4)]
    found = trainer.robustness(task, data, "best", out=tmp_path / "r", suites=suites, bootstrap=0)
    assert found.attacks.meta["on"] == "tokens"
    shows = found.worst.inputs.set_index("modality")["show"]
    assert set(shows["words"]) <= set(words)
    address = shows[["look"]].iloc[0]
    content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).mode == "RGB"
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "<b>red</b>" not in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:image/png)""", page)


def test_a_picture_in_a_file_cannot_smuggle_markup_into_the_page(everything: Path, tmp_path: Path):
    found = Findings.load(everything)
    evil = found.worst.inputs.assign(show='data:image/png;base64,"><script>alert(1)</script>')
    object.__setattr__(found.worst, "inputs", evil)
    page = write_report(found, tmp_path).read_text(encoding="utf-8")
    assert "<script>alert" not in page


def test_a_sample_is_the_same_for_the_same_seed(trained: Trained, everything: Path, tmp_path: Path):
    suites: list[Suite] = [Attacks(budgets=[0.1], norms=["l2"], rows=20, steps=1)]
    again = study(trained, tmp_path, suites)
    first = Findings.load(everything).attacks.rows["row"]
    assert set(again.attacks.rows["row"]) == set(first)
    assert isinstance(again.attacks.rows, pd.DataFrame)
