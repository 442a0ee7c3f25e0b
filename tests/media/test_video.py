"""Videos: the right frames, and files that are damaged, cut, silent or made to deceive."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_fuzzing import THOUSAND, damaged

from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Video
from mmfuse.media.cut_video import is_cut

FORMATS = [
    ("mpeg4", "mp4"),
    ("mpeg4", "mov"),
    ("libx264", "mp4"),
    ("libx264", "matroska"),
    ("libx264", "mpegts"),
    ("libvpx-vp9", "webm"),
    ("mjpeg", "avi"),
    ("ffv1", "matroska"),
]
STEP = 6


def clip(count: int, codec: str = "mpeg4", format: str = "mp4") -> bytes:
    """A film of 32 x 16 whose frame i is grey of level 6 i."""
    file = io.BytesIO()
    write(file, count, codec, format)
    return file.getvalue()


def write(file, count: int, codec: str, format: str, **options: str) -> None:
    with av.open(file, "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 32, 16
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        container.start_encoding()
        for i in range(count):
            grey = np.full((16, 32, 3), STEP * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def sound_file(format: str = "matroska") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def cover_art() -> bytes:
    """A file whose only picture stream is the cover of a record."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        picture = np.zeros((16, 16, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames of ``clip`` these are."""
    return np.rint(frames.mean(axis=(1, 2, 3)) / STEP).astype(int).tolist()


CLIPS = {pair: clip(12, *pair) for pair in FORMATS}


# The right frames


@pytest.mark.parametrize("pair", FORMATS, ids="-".join)
@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [6]),
        (3, [2, 6, 10]),
        (4, [1, 4, 7, 10]),
        (12, list(range(12))),
        (24, [i // 2 for i in range(24)]),
    ],
)
def test_frames_are_those_in_the_middles_of_equal_parts(pair, count, expected):
    frames = Video(CLIPS[pair]).frames(count)
    assert frames.shape == (count, 16, 32, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == expected


def test_a_video_of_one_frame_shows_it_every_time():
    assert numbers(Video(clip(1)).frames(3)) == [0, 0, 0]


def test_frames_are_right_where_there_are_more_packets_than_frames(monkeypatch):
    demux = av.container.InputContainer.demux

    class Doubled:
        def __init__(self, container):
            self.container = container
            self.streams, self.decode = container.streams, container.decode

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.container.close()

        def demux(self, stream):
            return [p for p in demux(self.container, stream) for _ in range(2)]

    opened = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: Doubled(opened(*args, **options)))
    assert numbers(Video(CLIPS["mpeg4", "mp4"]).frames(3)) == [2, 6, 10]


def test_a_path_is_read(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(clip(4))
    assert numbers(Video(tmp_path / "a.mp4").frames(2)) == [1, 3]


def test_a_video_is_turned_upright():
    content = bytearray(clip(2))
    header = content.index(b"tkhd")
    whole, none = (1 << 16).to_bytes(4, "big"), bytes(4)
    at = content.index(whole + none * 3 + whole, header)
    # The frame's right points down: a phone's film, held upright, is to be turned clockwise.
    content[at : at + 20] = (
        none + whole + none + (-(1 << 16)).to_bytes(4, "big", signed=True) + none
    )
    assert Video(bytes(content)).frames(1).shape == (1, 32, 16, 3)


def test_turning_upright_is_clockwise():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        picture = np.zeros((16, 32, 3), np.uint8)
        picture[:, 16:] = 255  # white on the right
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(file.getvalue())
    one, none, minus = ((n << 16).to_bytes(4, "big", signed=True) for n in (1, 0, -1))
    at = content.index(one + none * 3 + one, content.index(b"tkhd"))
    # Right becomes down, as in a film from a phone that was held upright: turned clockwise.
    content[at : at + 20] = none + one + none + minus + none
    (frame,) = Video(bytes(content)).frames(1)
    assert frame.shape == (32, 16, 3)
    assert frame[:16].mean() < 60
    assert frame[16:].mean() > 195  # and now at the bottom


# What is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"no video, but some words", "cannot be decoded as a video"),
        (sound_file(), "no moving pictures"),
        (sound_file("wav"), "no moving pictures"),
        (cover_art(), "no moving pictures"),
        (clip(0, "mpeg4", "avi"), "no frame|cannot be decoded"),
        (clip(0, "ffv1", "matroska"), "no frame|cannot be decoded"),
    ],
)
def test_what_is_no_video_is_refused(content, reason):
    with pytest.raises(DataError, match=reason):
        Video(content).frames(2)


@pytest.mark.parametrize("pair", FORMATS, ids="-".join)
def test_a_video_that_is_cut_short_is_refused(pair):
    content = CLIPS[pair]
    if pair[1] == "mpegts":  # a stream without an end, made to be joined anywhere
        return
    for share in (0.3, 0.5, 0.8, 0.95):
        with pytest.raises(DataError):
            Video(content[: int(share * len(content))]).frames(2)
    with pytest.raises(DataError, match="cannot be decoded"):
        Video(content[:-1]).frames(2)


def test_a_cut_video_whose_index_stands_at_the_front_is_refused(tmp_path):
    write(str(tmp_path / "a.mp4"), 12, "mpeg4", "mp4", movflags="faststart")
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert numbers(Video(content).frames(1)) == [6]
    with pytest.raises(DataError, match="cut short"):
        Video(content[:-20]).frames(1)


def test_notes_behind_the_end_do_not_matter():
    content = clip(4) + b"\x7f\xff\xff\xffnoteby the camera"
    assert not is_cut(content)
    assert len(Video(content).frames(2)) == 2


def test_a_film_that_was_written_to_a_pipe_is_whole():
    content = bytearray(CLIPS["libx264", "matroska"])
    at = content.index(b"\x18\x53\x80\x67") + 4
    length = 9 - content[at].bit_length()
    content[at : at + length] = ((1 << (7 * length + 1)) - 1).to_bytes(length, "big")
    assert not is_cut(bytes(content))
    assert numbers(Video(bytes(content)).frames(3)) == [2, 6, 10]


@pytest.mark.parametrize("form", ["hls", "concat"])
def test_a_playlist_reads_no_other_file(form, tmp_path):
    (tmp_path / "a.ts").write_bytes(CLIPS["libx264", "mpegts"])
    lines = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/a.ts\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {tmp_path}/a.ts\n",
    }
    with pytest.raises(DataError):
        Video(lines[form].encode()).frames(1)


def test_a_header_that_promises_the_moon_is_refused(monkeypatch):
    monkeypatch.setattr("mmfuse.media.video.MOST_PIXELS", 32 * 16 - 1)
    with pytest.raises(DataError, match="cannot be decoded"):
        Video(CLIPS["ffv1", "matroska"]).frames(1)


def test_without_pyav_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install mmfuse\[video\]"):
        Video(b"anything").frames(1)


# Damaged files


@THOUSAND
@given(damaged(list(CLIPS.values())) | st.binary(max_size=200))
def test_a_thousand_damaged_files_give_frames_or_our_error(content):
    try:
        frames = Video(content).frames(3)
    except DataError:
        return
    assert frames.shape[0] == 3
    assert frames.shape[3] == 3
    assert frames.dtype == np.uint8
