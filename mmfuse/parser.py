"""Parser: the options of a command that takes no configuration."""

from __future__ import annotations

import argparse
from typing import NoReturn

from mmfuse.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are errors of ours, told as all others are.

    Example:
        >>> parser = Parser("mmfuse example")
        >>> _ = parser.add_argument("--k", type=int)
        >>> parser.parse_args(["--k", "many"])
        Traceback (most recent call last):
        mmfuse.errors.ConfigError: argument --k: invalid int value: 'many'. For the options: \
mmfuse example --help
    """

    def error(self, message: str) -> NoReturn:
        """Raises a ``ConfigError`` in place of ending the process."""
        raise ConfigError(f"{message}. For the options: {self.prog} --help")
