"""Weights, names and options that open_clip's encoders refuse."""

from __future__ import annotations

import json
import logging
import shutil

import open_clip
import pytest
import torch
from open_clip_samples import (
    IMAGE,
    MODELS,
    TEXT,
    architecture,
)
from PIL import Image

from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.tokens import Tokens
from mmfuse_encoders import OpenClipImageEncoder, OpenClipTextEncoder, pretrained


def test_random_weights_are_told_once_and_a_folders_are_not(folders, tmp_path, caplog):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(MODELS["vit"]))
    pretrained._say_random.cache_clear()
    before = list(logging.getLogger().handlers)
    for _ in range(2):
        OpenClipImageEncoder(IMAGE, str(path))
    OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}")
    assert [r.getMessage()[:44] for r in caplog.records] == [
        "OpenClipImageEncoder has random weights, as "
    ]
    assert logging.getLogger().handlers == before


def test_random_weights_are_always_the_same_and_draw_nothing(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(MODELS["vit"]))
    x, state = torch.randn(1, 3, 32, 32), torch.get_rng_state()
    first = OpenClipImageEncoder(IMAGE, str(path))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(OpenClipImageEncoder(IMAGE, str(path))(x), first(x))


@pytest.mark.parametrize("cls", [OpenClipImageEncoder, OpenClipTextEncoder])
def test_names_that_nobody_has_are_refused_with_those_that_are_near(cls, tmp_path):
    spec = IMAGE if cls is OpenClipImageEncoder else TEXT
    with pytest.raises(ConfigError, match=r"no model 'ViT-B32'.*ViT-B-32"):
        cls(spec, "ViT-B32")
    with pytest.raises(ConfigError, match=r"no weights 'laion' of ViT-B-32.*laion2b_e16"):
        cls(spec, "ViT-B-32", "laion")
    with pytest.raises(MissingFileError, match="no file of weights at"):
        cls(spec, "ViT-B-32", str(tmp_path / "absent.pt"))
    with pytest.raises(MissingFileError, match="no description of a model at"):
        cls(spec, str(tmp_path / "absent.json"))


def test_a_tag_that_is_not_here_says_what_to_download_and_where_to_put_it(offline):
    with pytest.raises(MissingFileError, match=r"laion2b_s34b_b79k.*neither on this.*HF_HOME"):
        OpenClipImageEncoder(IMAGE, "ViT-B-32", "laion2b_s34b_b79k")
    with pytest.raises(MissingFileError, match=r"owner/none.*neither on this.*HF_HOME"):
        OpenClipTextEncoder(TEXT, "hf-hub:owner/none")


def test_a_folder_that_is_no_model_is_refused(tmp_path, folders):
    with pytest.raises(MissingFileError, match=r"no description of a model at .*open_clip_config"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")
    shutil.copy(folders["vit"] / "open_clip_config.json", tmp_path)
    with pytest.raises(MissingFileError, match=r"has no weights. Put them there"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")
    with pytest.raises(ConfigError, match="has its own weights"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}", "laion2b_s34b_b79k")


@pytest.mark.parametrize("content", [b"", b"nonsense", "resnet"])
def test_weights_in_a_folder_that_are_damaged_or_of_another_model_are_refused(
    tmp_path, folders, content
):
    shutil.copy(folders["vit"] / "open_clip_config.json", tmp_path)
    file = tmp_path / "open_clip_model.safetensors"
    if isinstance(content, str):
        shutil.copy(folders[content] / file.name, file)
    else:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match="holds no weights of its architecture"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")


def test_weights_of_the_hub_that_are_damaged_are_refused(tmp_path, folders, monkeypatch):
    config = json.loads((folders["vit"] / "open_clip_config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    monkeypatch.setattr(open_clip.factory, "_get_hf_config", lambda *_, **__: config)
    monkeypatch.setattr(
        open_clip.factory,
        "download_pretrained_from_hf",
        lambda *_, **__: str(tmp_path / "model.safetensors"),
    )
    with pytest.raises(CheckpointError, match="hf-hub:owner/clip holds no weights"):
        OpenClipImageEncoder(IMAGE, "hf-hub:owner/clip")


@pytest.mark.parametrize("content", ["[1, 2]", "{", '{"embed_dim": 3}'])
def test_a_json_file_that_describes_no_model_is_refused(tmp_path, content):
    path = tmp_path / "own.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="no description of an open_clip model"):
        OpenClipImageEncoder(IMAGE, str(path))


def test_an_impossible_architecture_is_refused(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(architecture({"nonsense": 1})))
    with pytest.raises(ConfigError, match=r"cannot build the model described.*nonsense"):
        OpenClipImageEncoder(IMAGE, str(path))
    content = {"model_cfg": architecture({"nonsense": 1})}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"cannot build the model described.*nonsense"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")


def test_weights_of_another_model_and_files_that_hold_none_are_refused(folders, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(architecture({"width": 32})))
    with pytest.raises(CheckpointError, match="holds no weights of this open_clip model"):
        OpenClipImageEncoder(IMAGE, str(path), str(folders["vit"] / "open_clip_model.safetensors"))
    for content in (b"", b"nonsense", b"PK\x03\x04" + bytes(100)):
        broken = tmp_path / "broken.pt"
        broken.write_bytes(content)
        with pytest.raises(CheckpointError, match="holds no weights of this open_clip model"):
            OpenClipImageEncoder(IMAGE, str(path), str(broken))


def test_layers_that_do_not_exist_or_do_not_fit_together_are_refused(folders):
    with pytest.raises(ConfigError, match=r"has not \[3\]; it has 3"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}", layers=[0, 3])
    with pytest.raises(ConfigError, match=r"has not \[-4\]; it has 3"):
        OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}", layers=[-4])
    with pytest.raises(ConfigError, match="maps of different sizes"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{folders['resnet']}", layers=[1, 2], tokens=True)


def test_rows_that_cannot_be_used_are_told(folders):
    image = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}")
    with pytest.raises(DataError, match="found str"):
        image.preprocess(["cat.png"])
    with pytest.raises(DataError, match="2 x 300 pixels is over 100 times"):
        image.preprocess([Image.new("RGB", (2, 300))])
    text = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    with pytest.raises(DataError, match="found NoneType"):
        text.preprocess([None])
    with pytest.raises(DataError, match="half a character"):
        text.preprocess(["a \ud800"])


def test_arrays_are_refused_as_nobody_knows_their_preprocessing(folders):
    with pytest.raises(ConfigError, match=r"takes raw pictures.*arrays of shape \(3, 32, 32\)"):
        OpenClipImageEncoder((3, 32, 32), f"local-dir:{folders['vit']}")


def test_a_shorter_context_changes_no_text(folders):
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    x = encoder.preprocess(["one two", "three"])
    assert torch.equal(encoder(Tokens(x.values[:, :4], x.mask[:, :4])), encoder(x))
