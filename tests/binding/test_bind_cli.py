"""mmfuse bind, from folders of features to a bound space."""

from __future__ import annotations

import pytest
import torch
import yaml
from planted_spaces import recall, two_spaces

from mmfuse import features
from mmfuse.binding import BoundSpace
from mmfuse.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Features of unpaired items in folders, and a configuration that binds them."""
    folder = tmp_path_factory.mktemp("bind")
    planted = two_spaces()
    for name, m in (("pictures", "image"), ("captions", "text"), ("sounds", "audio")):
        split = ["train"] * 240 + ["val"] * 60
        features.write(folder / name, planted.embed(planted.meanings(300), m), split=split)
    place = str(folder)
    config = {
        "base": "see",
        "out": f"{place}/bound",
        "progress": False,
        "pools": {
            "pictures": {"modality": "image", "spaces": {"see": {"folder": f"{place}/pictures"}}},
            "captions": {
                "modality": "text",
                "trained": ["see"],
                "spaces": {
                    s: {"folder": f"{place}/captions", "column": s} for s in ("see", "hear")
                },
            },
            "sounds": {"modality": "audio", "spaces": {"hear": {"folder": f"{place}/sounds"}}},
        },
        "method": {
            "class_path": "OmniBind",
            "init_args": {
                "hidden": 64,
                "router_hidden": [32, 16],
                "pairs": {"class_path": "Retrieval", "init_args": {"k": 2}},
                "training": {
                    "class_path": "Training",
                    "init_args": {"steps": 60, "batch_size": 128},
                },
            },
        },
    }
    (folder / "bind.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    meaning = planted.meanings(100)
    return folder, {m: planted.embed(meaning, m) for m in ("image", "audio")}


def bind(folder, *words):
    return main(["bind", "--config", str(folder / "bind.yaml"), *words])


def test_it_binds_says_where_the_space_is_and_keeps_what_was_done(folder, capsys):
    folder, paired = folder
    assert bind(folder) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    path = folder / "bound" / "bound.safetensors"
    assert last == f"Bound space: {path} (image, text, audio in 16 dimensions)"
    bound = BoundSpace.load(folder / "bound")
    z = {m: bound.embed(m, x) for m, x in paired.items()}
    assert recall(z["image"], z["audio"]) > 0.1
    made = path.stat().st_mtime_ns
    assert bind(folder) == 0
    assert path.stat().st_mtime_ns == made


def test_factors_are_chosen_on_the_validation_split(folder, capsys):
    folder, _ = folder
    words = ["--method", "FreeBind", "--method.hidden", "16", "--out", str(folder / "free")]
    words += ["--method.training", "Training", "--method.training.steps", "5"]
    assert bind(folder, *words) == 0
    assert (folder / "free" / "stages" / "validation-pairs.safetensors").is_file()
    bound = BoundSpace.load(folder / "free")
    assert bound.weights("text", {"see": torch.ones(1, 16)}).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--base", "hare"], "no space 'hare'; the pools have see, hear"),
        (["--method", "OmniBnd"], "Did you mean 'OmniBind'?"),
        (["--method", "OmniBind", "--method.decopling", "1"], "'decopling' is not accepted"),
        (["--validation", "[[pictures]]"], "pairs of two pools"),
        (["--validation", "[[pictures, captions]]"], "FreeBind does"),
        (["--bse", "see"], "--bse"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(folder, capsys, words, told):
    folder, _ = folder
    assert bind(folder, "--out", str(folder / "none"), *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("mmfuse: ")
    assert told in said
    assert not (folder / "none").exists()


@pytest.mark.parametrize(
    ("pool", "change", "told"),
    [
        ("captions", {"trained": ["smell"]}, "'smell'"),
        ("sounds", {"spaces": {"hear": {"folder": "nowhere"}}}, "no folder of features at nowhere"),
        ("sounds", {"spaces": {"hear": {"folder": "nowhere", "colum": "x"}}}, "'colum'"),
        ("sounds", {"modality": "audio.wav"}, "'audio.wav'"),
    ],
)
def test_a_mistake_in_a_pool_is_told_too(folder, tmp_path, capsys, pool, change, told):
    folder, _ = folder
    config = yaml.safe_load((folder / "bind.yaml").read_text())
    config["pools"][pool] |= change
    (tmp_path / "bind.yaml").write_text(
        yaml.safe_dump(config | {"out": str(tmp_path / "out")}, sort_keys=False)
    )
    assert bind(tmp_path) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_plan_does_not_mix_with_what_is_there(folder, capsys):
    folder, _ = folder
    (folder / "other").mkdir()
    (folder / "other" / "letter.txt").write_text("dear")
    assert bind(folder, "--out", str(folder / "other")) == 2
    assert "holds no stages" in capsys.readouterr().err
    assert bind(folder) == 0
    assert bind(folder, "--seed", "1") == 2
    assert "another seed" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(capsys):
    assert main(["bind", "--config", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err
    assert main(["bind"]) == 2
    assert "required" in capsys.readouterr().err
