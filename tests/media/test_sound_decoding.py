"""Sounds: whatever is in the file, samples with a rate or our error."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from media_fuzzing import THOUSAND, damaged

from mmfuse.errors import DataError
from mmfuse.media import Sound, decode_sound
from mmfuse.media.cut import is_cut

WAVE = (np.sin(np.arange(600) / 5)[:, None] * [0.5, 0.25]).astype(np.float32)
FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_U8"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
]


def encode(
    format: str = "WAV", subtype: str = "PCM_16", wave: np.ndarray = WAVE, rate: int = 8000
) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, wave, rate, format=format, subtype=subtype)
    return content.getvalue()


REAL = [encode(f, s) for f, s in FORMATS]


def survives(content: bytes) -> None:
    try:
        sound = decode_sound(content)
    except DataError:
        return
    assert sound.samples.ndim == 2
    assert sound.samples.size
    assert sound.samples.dtype == np.float32
    assert np.isfinite(sound.samples).all()
    assert sound.rate > 0


@given(st.binary(max_size=300))
@THOUSAND
def test_random_bytes_give_a_sound_or_our_error(content: bytes) -> None:
    survives(content)


@given(damaged(REAL))
@THOUSAND
def test_a_damaged_sound_gives_a_sound_or_our_error(content: bytes) -> None:
    survives(content)


@given(
    st.binary(max_size=60).map(lambda b: b"OggS" + b)
    | st.binary(max_size=60).map(lambda b: b"RIFF0000WAVE" + b)
)
@THOUSAND
def test_the_end_of_any_file_can_be_looked_for(content: bytes) -> None:
    assert is_cut(content) in (True, False)


def test_damage_is_not_told_on_the_error_stream(capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(encode("FLAC"))
    for at in range(4, len(content), 7):
        content[at] ^= 255
        survives(bytes(content))
    for length in range(0, len(REAL[4]), 50):
        survives(REAL[4][:length])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_every_usual_format_is_read(format: str, subtype: str) -> None:
    sound = decode_sound(encode(format, subtype))
    assert (sound.samples.shape, sound.rate) == ((2, 600), 8000)
    assert sound.seconds == 600 / 8000
    tolerance = {"FLOAT": 0, "PCM_16": 1e-4, "PCM_U8": 0.01, "VORBIS": 0.3}[subtype]
    assert np.abs(sound.samples - WAVE.T).max() <= tolerance


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(("format", "subtype"), FORMATS[:5])
def test_a_sound_that_is_cut_short_is_refused(format: str, subtype: str, share: float) -> None:
    content = encode(format, subtype)
    with pytest.raises(DataError, match=r"the embedded file.*mark the row absent"):
        decode_sound(content[: int(len(content) * share)])


def test_a_wav_file_that_was_written_to_a_pipe_is_whole() -> None:
    content = bytearray(encode())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff" * 4
    assert not is_cut(bytes(content))
    assert decode_sound(bytes(content)).samples.shape == (2, 600)


def test_mono_has_one_channel() -> None:
    assert decode_sound(encode(wave=WAVE[:, :1])).samples.shape == (1, 600)


def test_a_sound_of_no_length_is_refused() -> None:
    with pytest.raises(DataError, match=r"the embedded file: .*at least one sample"):
        decode_sound(encode(wave=WAVE[:0]))


def test_a_sound_with_nan_is_refused() -> None:
    wave = WAVE.copy()
    wave[3, 1] = np.nan
    with pytest.raises(DataError, match="the embedded file: A sound holds NaN"):
        decode_sound(encode("WAV", "FLOAT", wave))


@pytest.mark.parametrize("rate", [0, 7, 2_000_000_000])
def test_a_rate_of_no_recording_is_refused(rate: int) -> None:
    content = bytearray(encode())
    content[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(DataError, match="the embedded file"):
        decode_sound(bytes(content))


def test_a_header_that_promises_the_moon_is_refused() -> None:
    content = bytearray(encode("FLAC"))
    content[21:26] = bytes([content[21] | 15, 255, 255, 255, 255])  # 2^36 - 1 samples
    with pytest.raises(DataError, match="the embedded file"):
        decode_sound(bytes(content))


def test_a_sound_has_channels_and_samples() -> None:
    for samples in (np.zeros(5, np.float32), np.zeros((1, 0), np.float32)):
        with pytest.raises(DataError, match="channels, length"):
            Sound(samples, 8000)


def test_the_message_is_the_same_every_time() -> None:
    said = []
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            decode_sound(b"no sound")
        said.append(str(caught.value))
    assert said[0] == said[1]


# Paths.


def test_a_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encode("WAV", "FLOAT"))
    assert np.array_equal(decode_sound(tmp_path / "a.wav").samples, WAVE.T)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.wav", "No such file"),
        (".", "is no file"),
        ("nul\0byte.wav", "null"),
        ("empty.wav", "empty.wav is empty"),
        ("text.wav", "text.wav cannot be decoded as a sound"),
    ],
)
def test_what_cannot_be_read_is_named(path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound, but some words")
    with pytest.raises(DataError, match=reason):
        decode_sound(str(tmp_path / path) if "\0" not in path else path)
