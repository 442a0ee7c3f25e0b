"""Lazy: names of a package that are imported on first use, so that the package itself is quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """What a package calls ``__getattr__``; type checkers read the imports beside it instead.

    Args:
        package: its ``__name__``.
        homes: for each name the module that has it; for a module of the package, its own name.

    Example:
        >>> get = lazy("mmfuse", {"Tokens": "mmfuse.tokens", "tokens": "mmfuse.tokens"})
        >>> get("Tokens").__name__, get("tokens").__name__
        ('Tokens', 'mmfuse.tokens')
        >>> get("Token")
        Traceback (most recent call last):
        AttributeError: module 'mmfuse' has no attribute 'Token'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = importlib.import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    return get


def import_names(package: str) -> None:
    """Imports every name that a package has, so that all its classes are defined."""
    module = importlib.import_module(package)
    for name in module.__all__:
        getattr(module, name)
