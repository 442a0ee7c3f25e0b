"""Text encoders of transformers: files, damaged ones, and the hub's cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    BertForMaskedLM,
    BertModel,
    ViTConfig,
    ViTModel,
)
from transformers.utils import logging as hf_logging
from transformers_samples import (
    SIZES,
    TEXTS,
    bert_config,
    bert_words,
    encode,
    make,
    save,
)

from mmfuse.errors import CheckpointError, ConfigError, MissingFileError


def test_files_that_are_not_there_are_named(bert, tmp_path):
    with pytest.raises(MissingFileError, match="There is no folder"):
        make(str(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match=r"has no config\.json"):
        make(str(empty))
    for name, message in (
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ):
        copy = shutil.copytree(bert, tmp_path / name)
        (copy / name).unlink()
        with pytest.raises(MissingFileError, match=message):
            make(str(copy))


def test_weights_of_another_model_are_refused(bert, gpt2, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    shutil.copy(Path(gpt2) / "model.safetensors", copy)
    with pytest.raises(CheckpointError, match="missing"):
        make(str(copy))


def test_weights_of_another_size_are_refused(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": 12}))
    with pytest.raises(CheckpointError):
        make(str(copy))


def test_damaged_weights_are_refused(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        make(str(copy))


def test_a_tokenizer_of_another_model_is_refused(bert, tmp_path):
    torch.manual_seed(0)
    folder = save(tmp_path, BertModel(bert_config(vocab_size=5)), bert_words())
    with pytest.raises(CheckpointError, match="22 tokens, the model has embeddings for 5"):
        make(folder)


def test_what_is_no_text_model_is_refused(tmp_path):
    config = ViTConfig(**SIZES, intermediate_size=16, image_size=8, patch_size=4)
    with pytest.raises(ConfigError, match="pixel_values"):
        make(save(tmp_path, ViTModel(config), bert_words()))


def test_code_that_comes_with_a_model_is_not_run(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (copy / "config.json").write_text(json.dumps(own))
    (copy / "own.py").write_text("raise SystemExit('the code ran')")
    with pytest.raises(ConfigError, match="brings no code of its own"):
        make(str(copy))


def test_a_checkpoint_with_a_head_and_without_a_pooler_is_read_in_silence(tmp_path, capfd):
    torch.manual_seed(0)
    folder = save(tmp_path, BertForMaskedLM(bert_config()), bert_words())
    capfd.readouterr()
    hf_logging.enable_progress_bar()
    encoder = make(folder, tokens=True)
    assert capfd.readouterr() == ("", "")
    network = BertForMaskedLM.from_pretrained(folder).bert.eval()
    x = encoder.preprocess(["a text"])
    expected = network(x.values, x.mask.long()).last_hidden_state
    torch.testing.assert_close(encoder(x).values, expected)


def test_a_name_that_cannot_be_downloaded_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingFileError) as found:
        make("nobody/no-such-model")
    for part in ("hf download nobody/no-such-model", "HF_HOME", "give the folder"):
        assert part in str(found.value)


def test_a_name_in_the_hubs_cache_is_found_offline(bert, tmp_path, monkeypatch):
    repo = tmp_path / "models--somebody--tiny"
    shutil.copytree(bert, repo / "snapshots" / "0123abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert torch.equal(encode(make("somebody/tiny"), TEXTS), encode(make(bert), TEXTS))
