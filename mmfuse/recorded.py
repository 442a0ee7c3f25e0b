"""Recorded: objects that remember how they were built, so that a checkpoint can build them anew."""

from __future__ import annotations

import functools
import importlib
import inspect
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from mmfuse.errors import CheckpointError, ConfigError

Description = dict[str, Any]


class Recorded:
    """Base for classes whose constructor arguments are kept, in plain data.

    Whether an object came from YAML or from Python, ``describe`` gives
    ``{"class_path": ..., "init_args": ...}`` and ``rebuild`` makes it again. Modules
    themselves never enter a checkpoint, which therefore loads without unpickling.

    Example:
        >>> from mmfuse.missing import MCAR
        >>> describe(MCAR(rate=0.3))["init_args"]
        {'rate': 0.3}
    """

    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        original = cls.__init__

        @functools.wraps(original)
        def recording(self: Any, *args: Any, **kwargs: Any) -> None:
            outermost = "_arguments" not in self.__dict__
            if outermost:
                bound = inspect.signature(original).bind(self, *args, **kwargs)
                object.__setattr__(self, "_arguments", _flatten(bound))
            original(self, *args, **kwargs)
            if outermost:
                self._constructed()

        cls.__init__ = recording  # type: ignore[method-assign]

    def _constructed(self) -> None:
        """Called once, after the outermost constructor, for what needs the whole object."""


def _flatten(bound: inspect.BoundArguments) -> dict[str, Any]:
    arguments = dict(list(bound.arguments.items())[1:])  # without self
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    return arguments


def class_path(cls: type) -> str:
    """The importable dotted name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(obj: Recorded, without: tuple[str, ...] = ()) -> Description:
    """How ``obj`` was built, in plain data.

    Args:
        obj: the object.
        without: arguments to leave out because the builder supplies them again.

    Raises:
        ConfigError: an argument that is not plain data, or a class that cannot be imported.
    """
    cls = type(obj)
    if "." in cls.__qualname__ or cls.__module__ == "__main__":
        raise ConfigError(
            f"{cls.__qualname__} is defined in {cls.__module__!r} where nothing can import it "
            "again. Move the class to a module so that a checkpoint can name it."
        )
    arguments = getattr(obj, "_arguments", {})
    plain = {k: _plain(v, f"{cls.__name__}.{k}") for k, v in arguments.items() if k not in without}
    return {"class_path": class_path(cls), "init_args": plain}


def described_or_named(obj: Recorded) -> Description:
    """``describe`` for a result that nothing is built from: a notebook's class has its name."""
    try:
        return describe(obj)
    except ConfigError:
        return {"class_path": type(obj).__qualname__}


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    # numpy's scalars among them: they are numbers, but a checkpoint would have to unpickle them.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Recorded):
        return describe(value)
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v, where) for v in value]
    raise ConfigError(
        f"{where} is a {type(value).__name__}, which a checkpoint cannot hold. "
        "Pass numbers, strings, lists, mappings, or objects that mmfuse can rebuild."
    )


def with_defaults(value: Any) -> Any:
    """Plain data in which every description names all arguments of its class.

    A configuration file states them all, code only those it gives; both mean the same object.
    A class that cannot be imported keeps what it has.
    """
    if isinstance(value, list | tuple):
        return [with_defaults(v) for v in value]
    if not isinstance(value, Mapping):
        return value
    found = {k: with_defaults(v) for k, v in value.items()}
    if not is_description(value):
        return found
    module, _, name = found["class_path"].rpartition(".")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except (ImportError, AttributeError, ValueError, TypeError):
        return found
    # What the builder supplies (a spec, widths) has no default, and stays out.
    stated = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    return {**found, "init_args": with_defaults(stated) | found.get("init_args", {})}


def is_description(value: Any) -> bool:
    """Whether ``value`` has the form that ``describe`` gives."""
    return isinstance(value, Mapping) and "class_path" in value


def rebuild(description: Mapping[str, Any], *args: Any, base: type | None = None) -> Any:
    """Builds what ``describe`` described.

    Args:
        description: class path and arguments.
        args: arguments that ``describe`` was told to leave out, in order.
        base: the class that the result must be a kind of.

    Raises:
        CheckpointError: the class cannot be imported, is not a kind of ``base``, or does not
            take the arguments.
    """
    module, _, name = description["class_path"].rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"Cannot import {description['class_path']!r}, which the checkpoint needs: {error}. "
            "Install the package that defines it."
        ) from error
    # Only a recorded class is built: a checkpoint must not be able to name any callable it likes.
    if not (isinstance(cls, type) and issubclass(cls, base or Recorded)):
        raise CheckpointError(
            f"{description['class_path']} is not a {(base or Recorded).__name__}; "
            "the checkpoint was made by something else or was altered."
        )
    arguments = {k: _revive(v) for k, v in description.get("init_args", {}).items()}
    try:
        inspect.signature(cls).bind(*args, **arguments)
    except TypeError as error:
        raise CheckpointError(
            f"{description['class_path']} does not take the checkpoint's arguments "
            f"{sorted(arguments)}: {error}. Install the version that made the checkpoint."
        ) from error
    return cls(*args, **arguments)


def _revive(value: Any) -> Any:
    if is_description(value):
        return rebuild(value)
    if isinstance(value, Mapping):
        return {k: _revive(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_revive(v) for v in value]
    return value


def factory(base: type, value: Any) -> Callable[..., Any]:
    """Turns what a person writes for a component into something callable.

    Args:
        base: the kind of component.
        value: a class, a partial or any callable; a name such as ``"GatedFusion"``; or a
            mapping with ``class_path`` and ``init_args`` as in YAML.

    Raises:
        ConfigError: none of these.
    """
    from mmfuse.registry import resolve

    if isinstance(value, str):
        return resolve(base, value)
    if is_description(value):
        arguments = {k: _revive(v) for k, v in value.get("init_args", {}).items()}
        return functools.partial(resolve(base, value["class_path"]), **arguments)
    if callable(value):
        return value
    raise ConfigError(
        f"Expected a {base.__name__} as a class, a name or a mapping with class_path and "
        f"init_args; found {type(value).__name__}: {value!r}."
    )


def in_words(component: Any) -> Any:
    """A component as a person gave it, in plain data: a name, or class path and options.

    For records and digests; unlike ``describe`` it takes classes, partials and functions
    that have not been called yet.
    """
    if component is None or isinstance(component, str | Mapping):
        return component
    if isinstance(component, functools.partial):
        # jsonargparse makes partials of a helper, with the class among the arguments.
        cls = next((a for a in component.args if isinstance(a, type)), component.func)
        return {
            "class_path": in_words(cls),
            "init_args": {k: _word(v) for k, v in component.keywords.items()},
        }
    if isinstance(component, type):
        return class_path(component)
    return getattr(component, "__qualname__", type(component).__qualname__)


def _word(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return [_word(v) for v in value] if isinstance(value, list | tuple) else repr(value)
