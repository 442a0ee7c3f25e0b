"""Pictures: files of the usual formats -> RGB."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mmfuse.errors import DataError
from mmfuse.media.source import Source, name_of, open_source

#: What is read. Pillow knows more formats, some of which start another program (PostScript).
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM"),
    *("AVIF", "JPEG2000", "MPO", "ICO", "TGA"),
)


def decode_image(source: Source) -> Image.Image:
    """A picture in RGB, upright, transparent parts on white; of an animation the first frame.

    Pictures of 16 bits a channel are scaled to 8.

    Args:
        source: the file's bytes or path, in one of ``FORMATS``.

    Raises:
        DataError: it is no picture, is cut short, or has more pixels than Pillow allows.
    """
    content = open_source(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A picture of suspicious size is refused, not merely warned of.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.init()
            formats = [f for f in FORMATS if f in Image.OPEN]
            with Image.open(content, formats=formats) as picture:
                return to_rgb(picture)
    except DataError as error:
        raise DataError(f"{name_of(source)}: {error}") from error
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        # Pillow would name a place in memory.
        is_known = not isinstance(error, UnidentifiedImageError)
        reason = error if is_known else f"it is none of {', '.join(FORMATS)}"
        raise DataError(
            f"{name_of(source)} cannot be decoded as a picture: {reason}. Replace it, or mark the "
            "row absent."
        ) from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode in RGB, upright, transparent parts on white.

    Raises:
        DataError: pixels without an agreed range (32-bit floats).
    """
    picture.load()
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise DataError(
            "A picture of floating-point pixels has no agreed range. Save it with 8 or 16 bits a "
            "channel."
        )
    if picture.mode.startswith("I"):  # Pillow would cut 16 bits off at 255
        grey = np.clip(np.asarray(picture, dtype=np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
