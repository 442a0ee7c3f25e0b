"""Videos: files of any format that FFmpeg reads -> frames, evenly spaced over their length."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmfuse.errors import ConfigError, DataError
from mmfuse.media.cut_video import is_cut
from mmfuse.media.source import Source, content_of, name_of, open_source

#: Most pixels of a frame; a header with more is damaged, or made to fill the memory.
MOST_PIXELS = 16_384 * 8_640


class Video:
    """A video whose frames are decoded when they are asked for.

    Args:
        source: the file's bytes or path; needs PyAV (``pip install mmfuse[video]``).
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def frames(self, count: int) -> np.ndarray:
        """Frames at the middles of ``count`` equal parts of the video, counted in frames, upright.

        A video of fewer frames shows some of them more than once. All frames are decoded,
        never sought, so that the ones found are the ones meant whatever the format's index
        says; no more than ``count`` are kept.

        Shape:
            -> (count, height, width, 3) uint8, RGB

        Raises:
            DataError: it is no video, is damaged or cut short, holds no frame, or its frames
                have more than ``MOST_PIXELS`` pixels.
            ConfigError: PyAV is not installed.
        """
        try:
            import av
        except ImportError as error:
            raise ConfigError(
                "Videos are decoded by PyAV, which is not installed: pip install mmfuse[video]"
            ) from error
        content = content_of(self.source)
        if is_cut(content):
            raise self._refusal("it is cut short")
        try:
            # A file has a packet for each frame, as good as always, and packets are cheap.
            with self._opened(av, content) as container:
                total = sum(p.size > 0 for p in container.demux(_stream(container)))
            found, decoded = self._decoded(av, content, _middles(total, count))
            if decoded != total:
                found, decoded = self._decoded(av, content, _middles(decoded, count))
            if not decoded:
                raise ValueError("it holds no frame")
            return np.stack([found[i] for i in _middles(decoded, count)])
        except Exception as error:  # damaged bytes raise whatever their reader trips over
            raise self._refusal(error) from error

    def _opened(self, av: Any, content: bytes) -> Any:
        # A playlist would have FFmpeg read other files, or fetch them from anywhere.
        return av.open(open_source(content), mode="r", options={"protocol_whitelist": "none"})

    def _decoded(
        self, av: Any, content: bytes, wanted: list[int]
    ) -> tuple[dict[int, np.ndarray], int]:
        """The wanted frames by number, and how many there are in all."""
        found, total = {}, 0
        with self._opened(av, content) as container:
            stream = _stream(container)
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            numbers = set(wanted)
            for total, frame in enumerate(container.decode(stream), start=1):
                if total - 1 in numbers:
                    turns = round(frame.rotation / 90)
                    found[total - 1] = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        return found, total

    def _refusal(self, why: object) -> DataError:
        return DataError(
            f"{name_of(self.source)} cannot be decoded as a video: {why}. Replace it, or mark the "
            "row absent."
        )


def _middles(total: int, count: int) -> list[int]:
    """The numbers of the frames in the middles of ``count`` equal parts of ``total``."""
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def _stream(container: Any) -> Any:
    """The first stream of moving pictures."""
    for stream in container.streams.video:
        if not stream.disposition & type(stream.disposition).attached_pic:
            return stream
    raise ValueError("it has no moving pictures")
