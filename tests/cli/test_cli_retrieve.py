"""`mmfuse retrieve`: of a checkpoint and of extracted features; files, plot and mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from mmfuse import Extractor, features
from mmfuse.cli import main
from mmfuse_encoders import MLPEncoder

WORDS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A trained alignment of numbers and texts, its configuration and its features."""
    folder = tmp_path_factory.mktemp("run")
    draw = np.random.default_rng(0)
    label = np.arange(150) % 3
    numbers = draw.normal(size=(150, 3)) + 4 * np.eye(3)[label]
    table = pd.DataFrame(numbers, columns=["x", "y", "z"])
    table["text"] = [f"{WORDS[k]} thing" for k in label]
    table["colour"] = [WORDS[k] for k in label]
    table.to_csv(folder / "rows.csv", index=False)
    data = {
        "path": str(folder / "rows.csv"),
        "modalities": {
            "a": ["x", "y"],
            "b": ["z", "x"],
            "text": {"columns": "text", "kind": "text"},
        },
        "targets": "colour",
        "on_duplicates": "allow",
    }
    config = {
        "trainer": {"max_epochs": 3, "default_root_dir": str(folder / "runs")},
        "model": {
            "class_path": "AlignmentTask",
            "init_args": {"head": {"out_dim": 8, "hidden": [8]}, "templates": ["{}", "{} thing"]},
        },
        "data": {"class_path": "TableData", "init_args": data},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", str(folder / "config.yaml"), "--trainer.enable_progress_bar=false"]
    assert main(["fit", *words]) == 0
    assert main(["extract", *words, "--ckpt_path", "best", "--out", str(folder / "f")]) == 0
    return folder


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "retrieval.csv").set_index("direction")


def test_a_checkpoint_is_measured_in_every_direction(run, tmp_path, capsys):
    words = ["--config", str(run / "config.yaml"), "--ckpt_path", "best"]
    assert main(["retrieve", *words, "--out", str(tmp_path), "--ks", "[1,3]"]) == 0
    told = capsys.readouterr().out
    assert "R@1" in told
    assert "R@3" in told
    assert "class's name is nearest" in told
    assert told.strip().endswith(f"Retrieval: {tmp_path}/retrieval.csv, {tmp_path}/retrieval.png")
    found = table(tmp_path)
    assert list(found.index[:2]) == ["a_to_b", "a_to_text"]
    assert found.loc["a_to_b", "queries"] == 30
    assert found.loc["a_to_b", "chance_r_at_3"] == pytest.approx(0.1)
    assert found.loc["zero_shot/a", "zero_shot"] > 0.5
    with Image.open(tmp_path / "retrieval.png") as picture:
        assert picture.size[0] > 600


def test_features_give_what_their_checkpoint_gives(run, tmp_path, capsys):
    words = ["--config", str(run / "config.yaml"), "--ckpt_path", "best"]
    assert main(["retrieve", *words, "--out", str(tmp_path / "model")]) == 0
    assert main(["retrieve", "--features", str(run / "f"), "--out", str(tmp_path / "files")]) == 0
    model, files = table(tmp_path / "model"), table(tmp_path / "files")
    both = model.loc[files.index, files.columns]
    pd.testing.assert_frame_equal(both, files, rtol=1e-5, check_dtype=False)
    assert "map" in files


def test_columns_split_and_target_are_chosen(run, tmp_path, capsys):
    words = ["retrieve", "--features", str(run / "f"), "--columns", "a", "fused"]
    assert main([*words, "--split", "all", "--target", "colour", "--out", str(tmp_path)]) == 0
    found = table(tmp_path)
    assert list(found.index) == ["a_to_fused", "fused_to_a"]
    assert found.loc["a_to_fused", "queries"] == 150


def test_the_results_stand_beside_the_features_by_default(run, capsys):
    assert main(["retrieve", "--features", str(run / "f")]) == 0
    assert (run / "f-retrieval" / "retrieval.csv").is_file()


def written(folder: Path, a: list, b: list, split: str = "test") -> str:
    """Features of two modalities, as another program may have them."""
    encoders = {"a": MLPEncoder(2, out_dim=4), "b": MLPEncoder(2, out_dim=len(b) and 4)}
    Extractor(encoders).extract({"a": a, "b": b}, folder)
    return str(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "{f}", "--columns", "a", "c"], "has no vectors ['c']; it has a, b, text"),
        (["--features", "{f}", "--columns", "a"], "expected two or more"),
        (["--features", "{f}", "--columns", "a", "a"], "expected two or more, each once"),
        (["--features", "{f}", "--split", "tset"], "split is 'tset'"),
        (["--features", "{f}", "--target", "size"], "target is 'size'"),
        (["--features", "{f}", "--ks", "0"], "expected whole numbers from 1"),
        (["--features", "{f}", "--ks", "many"], "invalid int value"),
        (["--features", "nowhere"], "There is no folder of features"),
        (["--config", "{c}"], "no trained model"),
        (["--config", "{c}", "--ckpt_path", "best", "--split", "tset"], "split"),
    ],
)
def test_mistakes_are_told_in_one_sentence(run, capsys, words, message):
    filled = [w.format(f=run / "f", c=run / "config.yaml") for w in words]
    assert main(["retrieve", *filled]) == 2
    assert message in capsys.readouterr().err


def test_rows_that_pair_nothing_are_told(tmp_path, capsys):
    a, b = [[1.0, 2.0], None, [0.0, 1.0]], [None, [1.0, 1.0], None]
    encoders = {"a": MLPEncoder(2, out_dim=4), "b": MLPEncoder(2, out_dim=4)}
    Extractor(encoders).extract({"a": a, "b": b}, tmp_path / "f")
    assert main(["retrieve", "--features", str(tmp_path / "f"), "--split", "all"]) == 2
    assert "nothing to retrieve" in capsys.readouterr().err


def test_spaces_of_unequal_width_are_told(tmp_path, capsys):
    encoders = {"a": MLPEncoder(2, out_dim=4), "b": MLPEncoder(2, out_dim=5)}
    Extractor(encoders).extract({m: [[1.0, 2.0]] for m in "ab"}, tmp_path / "f")
    assert main(["retrieve", "--features", str(tmp_path / "f"), "--split", "all"]) == 2
    assert "do not share a space" in capsys.readouterr().err


def test_help_tells_both_forms(capsys):
    with pytest.raises(SystemExit):
        main(["retrieve", "--help"])
    told = capsys.readouterr().out
    assert "--features" in told
    assert "--config" in told


def test_written_features_are_read_too(tmp_path):
    vectors = torch.eye(12)
    features.write(tmp_path / "f", {"a": vectors, "b": vectors * 2})
    assert main(["retrieve", "--features", str(tmp_path / "f"), "--split", "all"]) == 0
    assert table(Path(f"{tmp_path}/f-retrieval"))["r_at_1"].tolist() == [1.0, 1.0]
