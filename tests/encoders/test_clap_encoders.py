"""Encoders around CLAP, on tiny checkpoints of random weights in the library's own format."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as hf_logging

import mmfuse
import mmfuse.testing.encoder as kit
from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.media import Sound
from mmfuse.testing import check_encoder
from mmfuse_encoders import ClapAudioEncoder, ClapTextEncoder
from mmfuse_encoders.adapters import FullTuning, LastLayers, LoRA

AUDIO, TEXT = ModalitySpec("audio"), ModalitySpec("text")
TEXTS = ["a dog barks", "rain", "the rain on the roof", ""]
RATE = 8000


@pytest.fixture(autouse=True)
def _quiet():
    hf_logging.disable_progress_bar()
    yield
    hf_logging.enable_progress_bar()


def save(folder, is_fused: bool) -> str:
    """A model of the published ones' form that hears one second at 8 kHz."""
    torch.manual_seed(3)
    audio = {
        "window_size": 4,
        "num_mel_bins": 16,
        "spec_size": 32,
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "enable_fusion": is_fused,
        "fusion_type": "aff_2d" if is_fused else None,
    }
    text = {
        "vocab_size": 30,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 24,
    }
    model = ClapModel(ClapConfig(projection_dim=6, audio_config=audio, text_config=text))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    norm = model.audio_model.audio_encoder.batch_norm  # as training leaves it, for decibels
    norm.running_mean.fill_(-20)
    norm.running_var.fill_(400)
    model.save_pretrained(folder)
    extractor(is_fused).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def tokenizer() -> PreTrainedTokenizerFast:
    """RoBERTa's special tokens and a handful of words."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    words = ["a", "dog", "barks", "rain", "on", "the", "roof"]
    inner = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(specials + words)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>")


def extractor(is_fused: bool) -> ClapFeatureExtractor:
    return ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=RATE,
        hop_length=160,
        max_length_s=1,
        fft_window_size=256,
        frequency_max=4000,
        truncation="fusion" if is_fused else "rand_trunc",
    )


@pytest.fixture(scope="module")
def unfused(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("unfused"), is_fused=False)


@pytest.fixture(scope="module")
def fused(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("fused"), is_fused=True)


def noises(*seconds: float, rate: int = RATE, channels: int = 1) -> list[Sound]:
    draw = np.random.default_rng(0)
    return [
        Sound(0.2 * draw.standard_normal((channels, int(s * rate))).astype(np.float32), rate)
        for s in seconds
    ]


def test_the_vector_is_the_librarys(unfused):
    encoder = ClapAudioEncoder(AUDIO, unfused)
    sounds = noises(0.3, 1.0, 0.7)
    model = ClapModel.from_pretrained(unfused).eval()
    given = extractor(False)(
        [s.samples[0] for s in sounds], sampling_rate=RATE, return_tensors="pt"
    )
    x = encoder.preprocess(sounds)
    torch.testing.assert_close(x, given["input_features"])
    expected = model.get_audio_features(**given).pooler_output
    torch.testing.assert_close(F.normalize(encoder(x), dim=1), expected)


def test_a_model_that_fuses_gives_what_it_gives_a_sound_that_needs_no_fusing(fused):
    encoder = ClapAudioEncoder(AUDIO, fused)
    sounds = noises(0.3, 1.0)
    model = ClapModel.from_pretrained(fused).eval()
    given = extractor(True)([s.samples[0] for s in sounds], sampling_rate=RATE, return_tensors="pt")
    short = torch.zeros(2, 1, dtype=torch.bool)
    expected = model.get_audio_features(given["input_features"], is_longer=short).pooler_output
    found = encoder(encoder.preprocess(sounds))
    torch.testing.assert_close(F.normalize(found, dim=1), expected)


@pytest.mark.parametrize("folder", ["unfused", "fused"])
def test_nothing_is_drawn_at_random(folder, request):
    encoder = ClapAudioEncoder(AUDIO, request.getfixturevalue(folder))
    state = np.random.get_state()[1].copy()
    first, second = (encoder.preprocess(noises(0.3, 2.5)) for _ in range(2))
    assert torch.equal(first, second)
    assert np.array_equal(np.random.get_state()[1], state)


def test_a_long_stereo_sound_is_mixed_and_cropped_to_the_models_length(unfused):
    encoder = ClapAudioEncoder(AUDIO, unfused)
    long = noises(2.5, rate=RATE, channels=2)[0]
    short = Sound(long.samples.mean(axis=0, keepdims=True)[:, :RATE], RATE)
    torch.testing.assert_close(encoder.preprocess([long]), encoder.preprocess([short]))
    assert encoder.waveforms.cropped == 1


def test_tokens_are_the_places_of_the_last_map(unfused):
    encoder = ClapAudioEncoder(AUDIO, unfused, tokens=True)
    found = encoder(encoder.preprocess(noises(0.3, 0.9)))
    assert encoder.out_dim == 16
    assert found.values.shape == (2, 16, 16)
    assert found.mask.all()
    model = ClapModel.from_pretrained(unfused).eval()
    pooled = model.audio_model(encoder.preprocess(noises(0.3, 0.9))).pooler_output
    torch.testing.assert_close(found.pooled(), pooled)


@pytest.mark.parametrize(
    "options",
    [{}, {"tokens": True, "out_dim": 5}, {"adapter": FullTuning()}, {"adapter": LastLayers(1)}],
)
@pytest.mark.parametrize("folder", ["unfused", "fused"])
def test_the_audio_tower_keeps_its_promises(folder, options, request):
    check_encoder(ClapAudioEncoder, model=request.getfixturevalue(folder), **options)


def test_a_texts_vector_is_the_librarys_and_lies_in_the_sounds_space(unfused):
    encoder = ClapTextEncoder(TEXT, unfused)
    found = F.normalize(encoder(encoder.preprocess(TEXTS)), dim=1)
    model = ClapModel.from_pretrained(unfused).eval()
    words = AutoTokenizer.from_pretrained(unfused)
    for i, text in enumerate(TEXTS):
        given = {"input_ids": torch.tensor([words(text)["input_ids"]])}
        torch.testing.assert_close(found[i : i + 1], model.get_text_features(**given).pooler_output)
    assert encoder.out_dim == ClapAudioEncoder(AUDIO, unfused).out_dim


@pytest.mark.parametrize("options", [{}, {"adapter": FullTuning()}, {"adapter": LoRA(rank=2)}])
def test_the_text_tower_keeps_its_promises(unfused, options, monkeypatch):
    # Its softmax is in float32, too coarse for a numerical gradient.
    checks = tuple(c for c in kit.ENCODER_CHECKS if c is not kit.gradient_is_right)
    monkeypatch.setattr(kit, "ENCODER_CHECKS", checks)
    check_encoder(ClapTextEncoder, model=unfused, **options)


def test_a_long_text_is_cut_and_counted(unfused):
    encoder = ClapTextEncoder(TEXT, unfused)
    assert encoder.preprocess(["rain " * 100, "rain"]).mask.sum(dim=1).tolist() == [22, 3]
    assert (encoder.texts, encoder.texts_cut) == (2, 1)


@pytest.mark.parametrize("adapter", [None, LoRA(rank=2)])
def test_a_saved_model_needs_the_folder_no_more(unfused, tmp_path, adapter):
    gone = shutil.copytree(unfused, tmp_path / "gone")
    towers = {
        "sound": ClapAudioEncoder(AUDIO, str(gone), adapter=adapter),
        "text": ClapTextEncoder(TEXT, str(gone), adapter=adapter),
    }
    spec = DataSpec({m: t.spec for m, t in towers.items()}, {"y": TargetSpec("regression")})
    model = FusionModel(spec, towers, ConcatFusion(dict.fromkeys(towers, 6), out_dim=3)).eval()
    mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(gone)
    again = mmfuse.load(tmp_path / "model.ckpt").eval()
    raw = {"sound": noises(0.3, 1.4, rate=22050, channels=2), "text": TEXTS[:2]}
    found = []
    for each in (model, again):
        inputs = {m: each.preprocess[m](rows) for m, rows in raw.items()}
        found.append(each(Batch(tuple(raw), inputs, torch.ones(2, 2).bool())).logits["y"])
    assert torch.equal(*found)


def test_what_is_not_there_is_named(unfused, tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match="There is no folder"):
        ClapAudioEncoder(AUDIO, str(tmp_path / "nowhere"))
    for file in ("preprocessor_config.json", "model.safetensors"):
        copy = shutil.copytree(unfused, tmp_path / file)
        (copy / file).unlink()
        with pytest.raises(MissingFileError):
            ClapAudioEncoder(AUDIO, str(copy))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingFileError, match="hf download laion/clap-htsat-unfused"):
        ClapAudioEncoder(AUDIO)


def test_damaged_or_foreign_files_are_refused(unfused, tmp_path):
    copy = shutil.copytree(unfused, tmp_path / "damaged")
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        ClapAudioEncoder(AUDIO, str(copy))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="is a bert, not a CLAP"):
        ClapAudioEncoder(AUDIO, str(other))


def test_a_row_that_is_no_sound_is_refused(unfused):
    with pytest.raises(DataError, match="takes sounds"):
        ClapAudioEncoder(AUDIO, unfused).preprocess([3.0])
