"""SetGuided: attacks on aligned models in a study, on its page, and what is refused."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from suite_models import QUIET, paired, planted

from mmfuse import AlignmentTask, ArrayData, TableData, Trainer
from mmfuse.errors import ConfigError, MissingFileError, UnknownModalityError
from mmfuse.robustness.attacks.search_result import OWN
from mmfuse.robustness.findings import Findings
from mmfuse.robustness.report import write_report
from mmfuse.suites import SetGuided


def study(checkpoint: Path, folder: Path, suite: SetGuided, data=None) -> Findings:
    found = Trainer(default_root_dir=folder, **QUIET).robustness(
        None, data or paired(), checkpoint, out=folder / "report",
        suites=[suite], bootstrap=20, mcar_rates=[0.5],
    )  # fmt: skip
    assert isinstance(found, Findings)
    return found


@pytest.fixture(scope="module")
def attacked(aligned: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    study(aligned, folder, SetGuided([0.1, 0.4], [str(other)], rows=30, steps=5))
    return folder / "report"


def test_attacks_do_more_than_noise_and_are_read_back(attacked, other):
    found = Findings.load(attacked).set_guided
    assert found.sets == ["left", "right", "left + right"]
    for query, item in (("left", "right"), ("right", "left")):
        attack, noise = (found.curve(query, item, "left + right", by) for by in ("attack", "noise"))
        assert attack["success"].is_monotonic_increasing
        assert attack["success"].iloc[-1] > noise["success"].iloc[-1] + 0.3
    assert found.meta["rows"] == 30
    assert found.meta["rows_of_split"] == 40
    assert found.table["rows"].lt(30).all()  # a tenth lacks one of the two
    crossed = found.last.query("source != target and by == 'attack'")
    assert set(crossed["source"]) == {OWN, f"{other.parents[2].name}/version_0"}
    assert len(crossed) == 2 * 2 * 3


def test_a_budget_is_a_share_of_a_typical_row(attacked):
    units = Findings.load(attacked).set_guided.meta["units"]
    data = paired()
    values = data.dataset("test", missing=None).__getitems__(data.rows("test")).inputs["left"]
    spec = data.spec.modalities["left"]
    length = ((values.numpy() - spec.mean) / spec.std) ** 2
    assert units["left"] == pytest.approx(np.median(np.sqrt(length.mean(axis=1))), rel=0.2)


def test_the_page_shows_curves_and_what_carries_over(attacked, tmp_path):
    page = (attacked / "report.html").read_text(encoding="utf-8")
    for words in (
        "Under set-guided attack",
        "left → right: each modality and all",
        "Between models",
        "carry over to",
        "30 of 40 rows search among each other",
        "Not attacked: within l2 budgets",
    ):
        assert words in page, words
    assert "No attack was run" not in page
    both = {"one": Findings.load(attacked), "two": Findings.load(attacked)}
    page = write_report(both, tmp_path).read_text(encoding="utf-8")
    assert "left → right: left + right" in page
    assert "one: between models" in page


def test_texts_only_guide(tmp_path):
    draw = np.random.default_rng(0)
    names = ["red", "green", "blue", "grey"] * 20
    paint = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
    for i, name in enumerate(names):
        pixels = np.array(paint.get(name, (128, 128, 128))) + draw.integers(-30, 30, (8, 8, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
    texts = [f"a {name} square, no. {i}" for i, name in enumerate(names)]
    pictures = [str(tmp_path / f"{i}.png") for i in range(80)]
    pd.DataFrame({"picture": pictures, "text": texts}).to_csv(tmp_path / "t.csv", index=False)
    kinds = {"picture": "image", "text": "text"}
    columns = {m: {"columns": m, "kind": kind} for m, kind in kinds.items()}
    data = TableData(path=str(tmp_path / "t.csv"), modalities=columns)
    L.seed_everything(0, verbose=False)
    encoders = {
        "picture": {"class_path": "ImageCNNEncoder", "init_args": {"size": 8, "layers": 2}},
        "text": {"class_path": "HashedNgramEncoder", "init_args": {"hidden": 8}},
    }
    for encoder in encoders.values():
        encoder["init_args"]["out_dim"] = 16
    trainer = Trainer(max_epochs=3, default_root_dir=tmp_path, **QUIET)
    trainer.fit(AlignmentTask(encoders), datamodule=data)
    path = Path(trainer.checkpoint_callback.best_model_path)
    suite = SetGuided([0.2], rows=16, steps=2, at=3)
    found = study(path, tmp_path, suite, data).set_guided
    assert found.sets == ["picture"]
    assert found.meta["still"] == ["text"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Not moved: text." in page
    assert "Not attacked: text" in page
    with pytest.raises(ConfigError, match=r"'text'.*cannot be moved a little"):
        study(path, tmp_path, SetGuided([0.2], modalities=["picture", "text"]), data)
    odd = {**encoders, "picture": {**encoders["picture"]}}
    odd["picture"]["init_args"] = {"size": 16, "layers": 2, "out_dim": 16}
    elsewhere = Trainer(max_epochs=1, default_root_dir=tmp_path / "odd", **QUIET)
    elsewhere.fit(AlignmentTask(odd), datamodule=data)
    against = [elsewhere.checkpoint_callback.best_model_path]
    with pytest.raises(ConfigError, match="prepares modality 'picture' otherwise"):
        study(path, tmp_path, SetGuided([0.2], against), data)


def test_what_cannot_be_attacked_is_refused_at_once(aligned, trained, tmp_path):
    with pytest.raises(ConfigError, match=r"needs a model whose modalities share a space"):
        study(trained.checkpoint, tmp_path, SetGuided(), planted())
    with pytest.raises(ConfigError, match="predicts \\['y'\\]"):
        study(aligned, tmp_path, SetGuided(against=[str(trained.checkpoint)]))
    with pytest.raises(MissingFileError, match="no checkpoint"):
        study(aligned, tmp_path, SetGuided(against=["nowhere.ckpt"]))
    with pytest.raises(UnknownModalityError, match="'smell'"):
        study(aligned, tmp_path, SetGuided(modalities=["smell"]))
    draw = np.random.default_rng(0)
    wider = ArrayData({"left": draw.normal(size=(60, 9)), "right": draw.normal(size=(60, 5))})
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(AlignmentTask(), datamodule=wider)
    against = [trainer.checkpoint_callback.best_model_path]
    with pytest.raises(ConfigError, match="was trained on other data, as modality 'left'"):
        study(aligned, tmp_path, SetGuided(against=against))
    assert not list((tmp_path / "report").iterdir())
    for options in ({"budgets": [0.0]}, {"rows": 0}, {"steps": 0}, {"at": 0}):
        with pytest.raises(ConfigError, match="SetGuided: found"):
            SetGuided(**options)
    with pytest.raises(ConfigError, match="norm is 'l1'"):
        SetGuided(norm="l1")
