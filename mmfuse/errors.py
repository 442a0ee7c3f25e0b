"""The library's exceptions: each also subclasses the built-in one people already catch."""

from __future__ import annotations

from collections.abc import Mapping


class MmfuseError(Exception):
    """Base of every error that mmfuse raises on purpose."""


class DataError(MmfuseError, ValueError):
    """Data that does not fit: wrong width, NaN in a present slot, an empty split, a bad label."""


class ConfigError(MmfuseError, ValueError):
    """A setting that cannot be used: an unknown name, an impossible combination."""


class CheckpointError(MmfuseError, ValueError):
    """A checkpoint that cannot be read, or that belongs to another model."""


class MissingFileError(MmfuseError, FileNotFoundError):
    """A file or folder that should be there and is not."""


class OutputError(MmfuseError, OSError):
    """An output folder that cannot be written."""


class UnknownModalityError(MmfuseError, KeyError):
    """A modality that the model or the data set does not have."""

    # KeyError shows its argument's repr; a sentence reads better as itself.
    __str__ = Exception.__str__


class UnknownIdError(MmfuseError, KeyError):
    """A user or an item that a recommender does not know."""

    __str__ = Exception.__str__


class ConformanceError(MmfuseError, AssertionError):
    """A component that breaks promises which ``mmfuse.testing`` checks.

    Args:
        subject: the component, with its options.
        broken: for each promise that does not hold what was found instead.
    """

    def __init__(self, subject: str, broken: Mapping[str, str]) -> None:
        self.subject, self.broken = subject, dict(broken)
        lines = [f"  {promise}: {found}" for promise, found in self.broken.items()]
        super().__init__("\n".join([f"{subject} breaks {len(lines)} promise(s):", *lines]))
