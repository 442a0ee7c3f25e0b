"""Pictures: files of any format that Pillow reads -> RGB."""

from __future__ import annotations

import warnings

from PIL import Image, ImageOps

from mmfuse.errors import DataError
from mmfuse.media.source import Source, name_of, open_source


def decode_image(source: Source) -> Image.Image:
    """A picture in RGB, upright, transparent parts on white.

    Args:
        source: the file's bytes or path.

    Raises:
        DataError: it is no picture, is cut short, or has more pixels than Pillow allows.
    """
    try:
        with warnings.catch_warnings():
            # A picture of suspicious size is refused, not merely warned of.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            picture: Image.Image = Image.open(open_source(source))
            picture = ImageOps.exif_transpose(picture)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            return picture.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise DataError(
            f"{name_of(source)} cannot be decoded as a picture: {error}. Replace it, or mark the "
            "row absent."
        ) from error
