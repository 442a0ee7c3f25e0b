"""Pictures: whatever is in the file, an RGB picture or our error."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_fuzzing import THOUSAND, damaged
from PIL import Image

from mmfuse.errors import DataError
from mmfuse.media import decode_image
from mmfuse.media.image import to_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM")


def encode(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, format, **options)
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode_image(content))


REAL = [
    *(encode(Image.fromarray(PIXELS), f) for f in FORMATS),
    encode(Image.fromarray(PIXELS), "JPEG", progressive=True),
    encode(Image.fromarray(PIXELS).convert("P"), "PNG", transparency=3),
    encode(Image.fromarray(PIXELS), "WEBP", lossless=True),
    encode(Image.fromarray(PIXELS), "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
]


def survives(content: bytes) -> None:
    try:
        picture = decode_image(content)
    except DataError:
        return
    assert picture.mode == "RGB"
    assert np.asarray(picture).shape == (picture.height, picture.width, 3)


@given(st.binary(max_size=300))
@THOUSAND
def test_random_bytes_give_a_picture_or_our_error(content: bytes) -> None:
    survives(content)


@given(damaged(REAL))
@THOUSAND
def test_a_damaged_picture_gives_a_picture_or_our_error(content: bytes) -> None:
    survives(content)


@pytest.mark.parametrize("format", FORMATS)
def test_every_usual_format_is_read(format: str) -> None:
    found = decode_image(encode(Image.fromarray(PIXELS), format))
    assert (found.mode, found.size) == ("RGB", (16, 12))
    if format not in ("JPEG", "GIF", "WEBP"):
        assert np.array_equal(np.asarray(found), PIXELS)


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_that_is_cut_short_is_refused(format: str) -> None:
    content = encode(Image.fromarray(PIXELS), format)
    with pytest.raises(DataError, match="the embedded file cannot be decoded as a picture"):
        decode_image(content[: len(content) // 2])


# Modes.


def test_a_palette_is_looked_up() -> None:
    picture = Image.fromarray(PIXELS).quantize(8)
    assert np.array_equal(pixels(encode(picture)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    if mode == "P":
        clear = encode(Image.new("P", (2, 2), 0), transparency=0)
    else:
        clear = encode(Image.new(mode, (2, 2), (0,) * len(mode)))
    assert (pixels(clear) == 255).all()


def test_half_transparent_black_is_grey() -> None:
    found = pixels(encode(Image.new("RGBA", (1, 1), (0, 0, 0, 128))))
    assert found.tolist() == [[[127, 127, 127]]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_to_eight(format: str) -> None:
    deep = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    found = pixels(encode(Image.fromarray(deep), format))
    assert found[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataError, match=r"the embedded file: .*no agreed range"):
        decode_image(encode(Image.new("F", (2, 2)), "TIFF"))


def test_cmyk_becomes_rgb() -> None:
    found = pixels(encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=100))
    assert np.abs(found.astype(int) - [0, 255, 255]).max() < 8


def test_one_bit_is_black_and_white() -> None:
    picture = Image.new("1", (2, 1))
    picture.putpixel((1, 0), 1)
    assert pixels(encode(picture)).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_picture_stands_upright(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    wide = Image.new("RGB", (16, 8))
    wide.paste((255, 255, 255), (0, 0, 8, 8))
    found = pixels(
        encode(wide, format, exif=exif, **({"quality": 100} if format == "JPEG" else {}))
    )
    assert found.shape == (16, 8, 3)
    assert found[:8].min() > 240
    assert found[8:].max() < 15


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(content)[0, 0].tolist() == [255, 0, 0]


def test_a_picture_in_memory_is_left_as_it_is() -> None:
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert to_rgb(picture).mode == "RGB"
    assert picture.mode == "RGBA"


# What is refused.


@pytest.mark.parametrize("pixels_allowed", [100, 60])
def test_a_decompression_bomb_is_refused(
    pixels_allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pillow warns of more pixels than this, and fails at twice as many.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels_allowed)
    with pytest.raises(DataError, match="decompression bomb"):
        decode_image(encode(Image.fromarray(PIXELS)))


def test_a_picture_that_promises_the_moon_is_refused() -> None:
    content = bytearray(encode(Image.fromarray(PIXELS), "BMP"))
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(DataError, match="decompression bomb"):
        decode_image(bytes(content))


def test_no_other_program_is_started_for_a_picture() -> None:
    with pytest.raises(DataError, match="it is none of JPEG, PNG"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")


def test_the_message_is_the_same_every_time() -> None:
    said = []
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            decode_image(b"no picture")
        said.append(str(caught.value))
    assert said[0] == said[1]


# Paths.


def test_a_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(PIXELS)))
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(np.asarray(decode_image(path)), PIXELS)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.png", "No such file"),
        ("gone.png/x.png", "No such file"),
        (".", "is no file"),
        ("nul\0byte.png", "null"),
        ("x" * 5000, "too long"),
        ("empty.png", "empty.png is empty"),
        ("pipe.png", "is no file"),
    ],
)
def test_what_cannot_be_read_is_named(path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=reason):
        decode_image(tmp_path / path)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=rf"{tmp_path}/a.png cannot be decoded as a picture"):
        decode_image(tmp_path / "a.png")


def test_no_bytes_are_no_picture() -> None:
    with pytest.raises(DataError, match="the embedded file is empty"):
        decode_image(b"")
