"""The log-mel encoder for sounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

import mmfuse
from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import ConcatFusion
from mmfuse.media import Sound
from mmfuse.testing import check_encoder
from mmfuse.tokens import Tokens
from mmfuse_encoders import LogMelCNNEncoder
from mmfuse_encoders.audio import QUIET, LogMel

AUDIO = ModalitySpec("audio")
SMALL = {"out_dim": 4, "hidden": 8, "layers": 2, "rate": 8000, "mels": 32}


def noise(lengths: list[int], padding: float = 0.0, extra: int = 0) -> Tokens:
    """Random samples of these lengths."""
    torch.manual_seed(1)
    mask = torch.arange(max(lengths) + extra) < torch.tensor(lengths).unsqueeze(1)
    values = torch.full(mask.shape, padding, dtype=torch.float64)
    for i, length in enumerate(lengths):
        values[i, :length] = torch.randn(length, dtype=torch.float64)
    return Tokens(values, mask)


def tones(hertz: torch.Tensor, seconds: float = 0.2, rate: int = 8000) -> list[Sound]:
    """One sine wave a row, of a random phase and loudness, with noise."""
    time = torch.arange(int(seconds * rate)) / rate
    phase, loudness = torch.rand(2, len(hertz), 1)
    waves = (loudness + 0.1) * torch.sin(2 * torch.pi * (hertz[:, None] * time + phase))
    return [Sound(w[None].numpy(), rate) for w in waves + 0.01 * torch.randn(waves.shape)]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_frames_are_the_logarithm_of_torchaudios_mel_spectrogram(rate):
    length, hop = round(rate * 0.025), round(rate * 0.01)
    points = 2 ** int(np.ceil(np.log2(length)))
    theirs = MelSpectrogram(rate, points, length, hop, n_mels=64, pad_mode="constant").double()
    samples = torch.randn(2, rate // 4, dtype=torch.float64)
    found = LogMel(rate, 64, 0.025, 0.01).double()(samples)
    expected = (theirs(samples) + QUIET).log().transpose(1, 2)
    assert found.values.shape[1] == -(-samples.shape[1] // hop)
    torch.testing.assert_close(found.values, expected[:, : found.values.shape[1]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_leaves_the_frames_as_they_are(dtype):
    log_mel, samples = LogMel(44100, 64, 0.025, 0.01), torch.ones(1, 4410)
    with torch.autocast("cpu", dtype):
        found = log_mel(samples).values
    assert torch.equal(found, log_mel(samples).values)


def test_a_frame_is_real_if_its_middle_is():
    found = LogMel(8000, 32, 0.025, 0.01)(noise([1, 80, 81, 400]))
    assert found.mask.sum(dim=1).tolist() == [1, 1, 2, 5]


def test_a_tone_is_loudest_in_the_band_of_its_frequency():
    sound = tones(torch.tensor([1000.0]))[0]
    frames = LogMel(8000, 64, 0.025, 0.01)(torch.from_numpy(sound.samples)).values[0, 5:-5]
    mel = 2595 * np.log10(1 + np.array([1000, 4000]) / 700)
    assert (frames.argmax(dim=1) + 1 - 65 * mel[0] / mel[1]).abs().max() <= 1


@pytest.mark.parametrize("tokens", [False, True])
def test_padding_never_leaks_whatever_it_holds_and_however_long_it_is_in_sounds(tokens):
    encoder = LogMelCNNEncoder(AUDIO, tokens=tokens, **SMALL).double().eval()
    lengths = [1, 70, 900, 1600]
    expected = Tokens.of(encoder(noise(lengths))).pooled()
    for padding, extra in ((float("nan"), 0), (1e30, 777), (float("inf"), 80), (7.0, 1)):
        found = Tokens.of(encoder(noise(lengths, padding, extra)))
        torch.testing.assert_close(found.pooled(), expected)
    for i, length in enumerate(lengths):
        alone = Tokens.of(encoder(noise(lengths).values[i : i + 1, :length])).pooled()
        torch.testing.assert_close(alone[0], expected[i])


def test_loudness_does_not_count():
    encoder = LogMelCNNEncoder(AUDIO, **SMALL).double().eval()
    sound = noise([1600])
    louder = Tokens(sound.values * 20, sound.mask)
    torch.testing.assert_close(encoder(sound), encoder(louder), atol=1e-3, rtol=1e-3)


def test_silence_is_defined_and_has_a_finite_gradient():
    encoder = LogMelCNNEncoder(AUDIO, **SMALL)
    samples = torch.zeros(2, 800, requires_grad=True)
    encoder(samples).sum().backward()
    assert samples.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_the_gradient_reaches_every_real_sample_and_no_padding():
    encoder = LogMelCNNEncoder(AUDIO, **SMALL).double()
    sound = noise([500, 1600])
    values = sound.values.requires_grad_()
    encoder(Tokens(values, sound.mask)).square().sum().backward()
    assert values.grad[~sound.mask].abs().max() == 0
    assert (values.grad[sound.mask] != 0).double().mean() > 0.99


def test_each_layer_halves_the_frames():
    encoder = LogMelCNNEncoder(AUDIO, tokens=True, **SMALL)
    found = encoder(noise([1600, 80]).to("cpu"))
    assert found.values.shape == (2, 5, 4)
    assert found.mask.sum(dim=1).tolist() == [5, 1]


def test_it_trains_on_one_short_sound(trains_on_one_row):
    encoder = LogMelCNNEncoder(AUDIO, **SMALL)
    trains_on_one_row(encoder, encoder.preprocess([Sound(np.ones((1, 50), np.float32), 8000)]))


def test_it_learns_to_tell_two_pitches(learns):
    labels = torch.arange(60) % 2
    sounds = tones(torch.where(labels == 1, 520.0, 440.0) + 10 * torch.randn(60))
    encoder = LogMelCNNEncoder(AUDIO, **SMALL)
    learns(encoder, encoder.preprocess(sounds), labels, steps=40)


def augmented(samples: Tokens, **masks: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised frames (B, F, mels) as the network sees them in training, and untouched."""
    encoder = LogMelCNNEncoder(AUDIO, **SMALL, **masks)
    seen = []
    encoder.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder.train()(samples)
    encoder.eval()(samples)
    return tuple(s.squeeze(1).transpose(1, 2) for s in seen)


def test_in_training_one_band_of_mels_is_blanked_in_each_sound():
    found, whole = augmented(noise([1600] * 200), frequency_mask=10)
    blank = (found == 0) & (whole != 0)
    assert torch.equal(blank.any(dim=1), blank.all(dim=1))
    bands = blank.any(dim=1)
    edges = bands.int().diff(dim=1, prepend=torch.zeros(200, 1)).clamp(min=0).sum(dim=1)
    assert edges.max() == 1
    assert set(bands.sum(dim=1).tolist()) == set(range(11))
    assert torch.equal(found[~blank], whole[~blank])


def test_in_training_one_stretch_of_real_time_is_blanked_in_each_sound():
    found, whole = augmented(noise([1600, 800] * 100), time_mask=0.5)
    blank = (found == 0) & (whole != 0)
    assert torch.equal(blank.any(dim=2), blank.all(dim=2))
    stretch = blank.any(dim=2)
    assert set(stretch[::2].sum(dim=1).tolist()) == set(range(11))
    assert set(stretch[1::2].sum(dim=1).tolist()) == set(range(6))
    assert stretch[::2].any(dim=0).all()


def test_no_mask_by_default():
    found, whole = augmented(noise([1600, 800]))
    assert torch.equal(found, whole)


@pytest.mark.parametrize("options", [{"frequency_mask": 9, "time_mask": 0.5}, {"layers": 1}])
def test_the_log_mel_encoder_keeps_its_promises(options):
    check_encoder(LogMelCNNEncoder, **SMALL | options)


def test_a_saved_model_hears_the_same(tmp_path):
    encoder = LogMelCNNEncoder(AUDIO, max_seconds=0.15, **SMALL)
    spec = DataSpec({"sound": AUDIO}, {"y": TargetSpec("regression")})
    model = FusionModel(spec, {"sound": encoder}, ConcatFusion({"sound": 4}, out_dim=3)).eval()
    mmfuse.save(model, tmp_path / "model.ckpt")
    again = mmfuse.load(tmp_path / "model.ckpt").eval()
    sounds = tones(torch.tensor([300.0, 600.0]), rate=11025)
    found = []
    for each in (model, again):
        x = each.preprocess["sound"](sounds)
        found.append(each(Batch(("sound",), {"sound": x}, torch.ones(2, 1).bool())).logits["y"])
    assert torch.equal(*found)


def test_more_mels_than_the_window_tells_apart_are_refused():
    with pytest.raises(ConfigError, match="cannot tell 128 mels apart"):
        LogMelCNNEncoder(AUDIO, rate=8000, mels=128)


@pytest.mark.parametrize("options", [{"hop": 0.0}, {"window": 0.0}, {"mels": 0}])
def test_sizes_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError, match="cannot be"):
        LogMelCNNEncoder(AUDIO, **options)


@pytest.mark.parametrize("options", [{"frequency_mask": 65}, {"time_mask": 1.5}])
def test_masks_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError, match="0 to 64 mels, and a share from 0 to 1"):
        LogMelCNNEncoder(AUDIO, **options)


def test_a_row_that_is_no_sound_is_refused():
    with pytest.raises(DataError, match="takes sounds, found ndarray"):
        LogMelCNNEncoder(AUDIO).preprocess([np.zeros(10)])
