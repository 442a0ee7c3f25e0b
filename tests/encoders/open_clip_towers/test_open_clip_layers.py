"""Layers of open_clip's towers, texts that are cut, and models that are saved."""

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
    SETTINGS,
    TEXT,
    batch_of,
    fused,
    outputs_of,
    theirs,
)

import mmfuse
from mmfuse.errors import ConfigError
from mmfuse.testing.values import sample_raw
from mmfuse_encoders import OpenClipImageEncoder, OpenClipTextEncoder
from mmfuse_encoders.adapters import FullTuning, LoRA


@pytest.mark.parametrize("layers", [[0], [-1], [2, 0]])
def test_chosen_layers_are_those_of_the_tower_side_by_side(folders, layers):
    model, _, tokenizer = theirs(folders["vit"])
    source = f"local-dir:{folders['vit']}"
    x = torch.randn(2, 3, 32, 32)
    found = outputs_of(model.visual.transformer.resblocks, lambda: model.visual(x))
    expected = torch.cat([found[i] for i in layers], dim=2)
    patches = OpenClipImageEncoder(IMAGE, source, tokens=True, layers=layers)
    assert torch.equal(patches(x).values, expected[:, 1:])
    assert torch.equal(OpenClipImageEncoder(IMAGE, source, layers=layers)(x), expected[:, 0])

    texts = ["one two", "three"]
    ids = tokenizer(texts)
    found = outputs_of(model.transformer.resblocks, lambda: model.encode_text(ids))
    expected = torch.cat([found[i] for i in layers], dim=2)
    words = OpenClipTextEncoder(TEXT, source, tokens=True, layers=layers)
    torch.testing.assert_close(words(words.preprocess(texts)).values, expected)
    vector = OpenClipTextEncoder(TEXT, source, layers=layers)
    ends = expected[torch.arange(2), ids.argmax(dim=1)]
    torch.testing.assert_close(vector(vector.preprocess(texts)), ends)


def test_what_lies_behind_the_chosen_layer_is_dropped(folders):
    source = f"local-dir:{folders['vit']}"
    assert len(OpenClipImageEncoder(IMAGE, source, layers=[0]).backbone.transformer.resblocks) == 1
    assert len(OpenClipTextEncoder(TEXT, source, layers=[1]).backbone.transformer.resblocks) == 2


@pytest.mark.parametrize("name", ["resnet", "timm"])
def test_the_layers_of_other_towers_are_pooled_by_their_mean(folders, name):
    source = f"local-dir:{folders[name]}"
    places = OpenClipImageEncoder(IMAGE, source, tokens=True, layers=[1])
    x = places.preprocess(sample_raw(IMAGE))
    several = OpenClipImageEncoder(IMAGE, source, layers=[1, 2])
    torch.testing.assert_close(several(x)[:, : places.out_dim], places(x).pooled())


def test_texts_that_are_cut_are_counted_and_told_once(folders, caplog):
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    fits, too_long = "a " * 10, "a " * 11  # start and end are tokens too
    with caplog.at_level(logging.WARNING):
        encoder.preprocess([fits, "short"])
        assert not caplog.records
        encoder.preprocess([too_long, fits, too_long])
        encoder.preprocess([too_long])
    assert (encoder.texts, encoder.texts_cut) == (6, 3)
    assert [r.getMessage() for r in caplog.records] == [
        "2 of 3 texts have more than 12 tokens and were cut; of later ones, texts_cut alone tells. "
        "Split the texts, or use a model that takes longer ones."
    ]


@pytest.mark.parametrize(
    ("name", "layers"), [*((name, []) for name in MODELS), ("vit", [1]), ("coca", [1])]
)
def test_a_saved_model_needs_nothing_of_the_folder_any_more(folders, name, layers, tmp_path):
    source = f"local-dir:{shutil.copytree(folders[name], tmp_path / 'model')}"
    specs = {"a": IMAGE, "b": TEXT}
    encoders = {
        "a": OpenClipImageEncoder(IMAGE, source, adapter=LoRA(2), layers=layers)
        if name != "resnet"
        else OpenClipImageEncoder(IMAGE, source, adapter=FullTuning(), layers=layers),
        "b": OpenClipTextEncoder(TEXT, source, out_dim=5, tokens=True, layers=layers),
    }
    model = fused(encoders, specs)
    expected = model(batch_of(model, specs)).logits["y"]
    mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(tmp_path / "model")
    again = mmfuse.load(tmp_path / "model.ckpt")
    assert torch.equal(again(batch_of(again, specs)).logits["y"], expected)


def test_an_architecture_of_ones_own_comes_from_a_json_file(folders, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"model_cfg": MODELS["vit"], "preprocess_cfg": SETTINGS}))
    weights = str(folders["vit"] / "open_clip_model.safetensors")
    encoder = OpenClipImageEncoder(IMAGE, str(path), weights)
    same = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}")
    x = same.preprocess(sample_raw(IMAGE))
    assert torch.equal(encoder(x), same(x))
    assert not encoder.random_weights
    assert OpenClipImageEncoder(IMAGE, str(path)).random_weights


def test_a_name_that_was_added_to_open_clip_takes_weights_from_a_file(folders, tmp_path):
    path = tmp_path / "mmfuse-own.json"
    path.write_text(json.dumps(MODELS["vit"]))
    open_clip.add_model_config(path)
    weights = str(folders["vit"] / "open_clip_model.safetensors")
    texts = sample_raw(TEXT)
    encoder = OpenClipTextEncoder(TEXT, "mmfuse-own", weights)
    same = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    assert torch.equal(encoder(encoder.preprocess(texts)), same(same.preprocess(texts)))


def test_a_text_tower_of_transformers_is_rebuilt_without_its_folder(hugging_face, tmp_path):
    path, folder = hugging_face
    encoder = OpenClipTextEncoder(TEXT, str(path), out_dim=4, adapter=LoRA(2))
    model = fused({"b": encoder}, {"b": TEXT})
    batch = batch_of(model, {"b": TEXT})
    assert batch.inputs["b"].values.shape == (6, 8)
    expected = model(batch).logits["y"]
    mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(folder)
    path.unlink()
    again = mmfuse.load(tmp_path / "model.ckpt")
    assert torch.equal(again(batch_of(again, {"b": TEXT})).logits["y"], expected)


def test_a_tokenizer_of_transformers_tells_what_it_cuts(hugging_face, caplog):
    encoder = OpenClipTextEncoder(TEXT, str(hugging_face[0]), tokens=True)
    x = encoder.preprocess(["one " * 6, "one " * 7, "one"])
    assert encoder.texts_cut == 1
    assert x.mask.sum(dim=1).tolist() == [8, 8, 3]
    found = encoder(x)
    assert found.values.shape == (3, 8, 8)
    assert torch.equal(found.mask, x.mask)
    with pytest.raises(ConfigError, match="TransformersTextEncoder"):
        OpenClipTextEncoder(TEXT, str(hugging_face[0]), layers=[0])
