"""Sounds as one batch of samples."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Sound
from mmfuse_encoders.waveform import LARGEST_PRODUCT, Waveforms, ratio, resampler


def tone(hertz: float, seconds: float, rate: int, channels: int = 1) -> Sound:
    """A sine wave, the same in every channel."""
    time = np.arange(round(seconds * rate)) / rate
    samples = 0.5 * np.sin(2 * np.pi * hertz * time)
    return Sound(np.tile(samples.astype(np.float32), (channels, 1)), rate)


@pytest.mark.parametrize("own", [8000, 11025, 16000, 22050, 44100, 48000, 44099, 96000])
def test_a_resampled_tone_is_the_tone_at_the_new_rate(own):
    found = Waveforms(16000, 10.0)([tone(440, 0.5, own)]).values[0]
    assert abs(len(found) - 8000) <= 1
    expected = torch.from_numpy(tone(440, 0.5, 16000).samples[0])
    middle = slice(500, 7400)  # the ends border on silence
    torch.testing.assert_close(found[middle], expected[middle], atol=0.01, rtol=0)


def test_a_tone_above_half_the_new_rate_is_gone():
    found = Waveforms(8000, 10.0)([tone(6000, 0.5, 44100)]).values[0]
    assert found[200:-200].abs().max() < 0.01


def test_resampling_is_torchaudios():
    sound = tone(700, 0.3, 44100)
    found = Waveforms(16000, 10.0)([sound]).values
    torch.testing.assert_close(found, resample(torch.from_numpy(sound.samples), 44100, 16000))


def test_a_sound_at_the_rate_stays_as_it_is():
    sound = Sound(np.random.default_rng(0).normal(size=(1, 999)).astype(np.float32), 16000)
    assert np.array_equal(Waveforms(16000, 10.0)([sound]).values.numpy(), sound.samples)


def test_channels_become_their_mean():
    channels = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    found = Waveforms(8000, 10.0)([Sound(channels, 8000), Sound(channels.mean(0)[None], 8000)])
    torch.testing.assert_close(found.values[0], found.values[1])


def test_shorter_sounds_are_padded_with_zeros_that_the_mask_leaves_out():
    found = Waveforms(8000, 10.0)([tone(440, 0.1, 8000), tone(440, 0.2, 16000)])
    assert found.values.shape == found.mask.shape == (2, 1600)
    assert found.mask.sum(dim=1).tolist() == [800, 1600]
    assert found.values[~found.mask].abs().max() == 0
    assert found.values.dtype == torch.float32


def test_a_sound_of_one_sample_stays_one():
    sounds = [Sound(np.ones((2, 1), np.float32), rate) for rate in (8000, 48000)]
    assert Waveforms(8000, 10.0)(sounds).mask.tolist() == [[True], [True]]


@pytest.mark.parametrize("own", [8000, 22050, 48000])
def test_a_long_sound_keeps_its_beginning(own):
    long = tone(440, 1.0, own, channels=2)
    short = Sound(long.samples[:, : own // 2], own)
    whole, cut = Waveforms(16000, 0.5), Waveforms(16000, 10.0)
    found = whole([long])
    assert found.values.shape == (1, 8000)
    torch.testing.assert_close(found.values, cut([short]).values)
    assert (whole.cropped, cut.cropped) == (1, 0)


def test_cropping_is_said_once_and_counted(caplog):
    waveforms = Waveforms(8000, 0.5)
    with caplog.at_level(logging.WARNING):
        waveforms([tone(440, 0.5, 8000)])
        assert not caplog.records
        waveforms([tone(440, 2.25, 8000), tone(440, 0.1, 8000), tone(440, 3, 8000)])
        waveforms([tone(440, 0.6, 8000)])
    assert [r.getMessage() for r in caplog.records] == [
        "A sound of 2.25 s is cut to its first 0.5 s, and so is every longer one; this is said "
        "once, and waveforms.cropped counts them. Raise max_seconds where the encoder has it, or "
        "make several rows of a long sound."
    ]
    assert waveforms.cropped == 3


def test_rates_without_a_common_factor_need_no_huge_kernel():
    for own in (44099, 7919, 1009, 15992, 767_999):
        for rate in (16000, 15991):
            up, down = ratio(rate, own)
            assert up * down <= 1.01 * LARGEST_PRODUCT
            assert abs(up / down * own / rate - 1) < 1e-3
    assert ratio(16000, 44100) == (160, 441)
    assert ratio(48000, 11025) == (640, 147)
    assert resampler(160, 441) is resampler(160, 441)


def test_what_is_no_sound_is_refused():
    with pytest.raises(DataError, match=r"takes sounds, found str: 'a\.wav'"):
        Waveforms(16000, 10.0)(["a.wav"])


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1.0), (16000, 0.0), (16000, float("nan"))])
def test_a_length_without_a_sample_is_refused(rate, seconds):
    with pytest.raises(ConfigError, match="leave no sample"):
        Waveforms(rate, seconds)
