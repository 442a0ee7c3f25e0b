"""Videos: files of any format that FFmpeg reads -> frames, evenly spaced over their length."""

from __future__ import annotations

import numpy as np

from mmfuse.errors import ConfigError, DataError
from mmfuse.media.source import Source, name_of, open_source


class Video:
    """A video whose frames are decoded when they are asked for.

    Args:
        source: the file's bytes or path; needs PyAV (``pip install mmfuse[video]``).
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def frames(self, count: int) -> np.ndarray:
        """Frames at the middles of ``count`` equal parts of the video.

        A video of fewer frames shows some of them more than once.

        Shape:
            -> (count, height, width, 3) uint8, RGB

        Raises:
            DataError: it is no video, is damaged, or holds no frame.
            ConfigError: PyAV is not installed.
        """
        try:
            import av
        except ImportError as error:
            raise ConfigError(
                "Videos are decoded by PyAV, which is not installed: pip install mmfuse[video]"
            ) from error
        try:
            with av.open(open_source(self.source), mode="r") as container:
                stream = container.streams.video[0]
                total = len([None for _ in container.decode(stream)])
            wanted = ((np.arange(count) + 0.5) * total / count).astype(int)
            with av.open(open_source(self.source), mode="r") as container:
                stream = container.streams.video[0]
                found = {
                    i: frame.to_ndarray(format="rgb24")
                    for i, frame in enumerate(container.decode(stream))
                    if i in set(wanted.tolist())
                }
            return np.stack([found[i] for i in wanted.tolist()])
        except DataError:
            raise
        except Exception as error:  # damaged bytes raise whatever their reader trips over
            raise DataError(
                f"{name_of(self.source)} cannot be decoded as a video: {error}. Replace it, or "
                "mark the row absent."
            ) from error
