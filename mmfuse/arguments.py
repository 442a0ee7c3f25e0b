"""What jsonargparse says of wrong arguments, in words that a person can act on."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException

from mmfuse.data import RunData
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, MmfuseError
from mmfuse.fusion.base import Fusion
from mmfuse.fusion.imputers import Imputer
from mmfuse.missing import Missingness
from mmfuse.objectives import Objective
from mmfuse.objectives.base import Term
from mmfuse.registry import resolve

_BASES = {
    "fusion": Fusion,
    "encoders": Encoder,
    "imputer": Imputer,
    "objectives": Objective,
    "missing": Missingness,
    "test_missing": Missingness,
    "data": RunData,
}
#: Imported after a mistake alone, as parts of recommenders take their time.
_LATER = {
    "distillation": ("mmfuse.distillation", "Distillation"),
    "optimizer": ("torch.optim", "Optimizer"),
    "source": ("mmfuse.recommend.sources.base", "InteractionSource"),
    "items": ("mmfuse.data", "FusionDataModule"),
    "split": ("mmfuse.recommend.splits.base", "SplitRule"),
    "backbone": ("mmfuse.recommend.propagation", "Propagation"),
    "user": ("mmfuse.recommend.users", "Users"),
    "score": ("mmfuse.recommend.scores", "Score"),
    "suites": ("mmfuse.suites", "Suite"),
}
#: What the model fills in where it builds encoders and a fusion.
_FILLED_IN = ("spec", "dims")


@contextmanager
def as_ours(command: str) -> Iterator[None]:
    """What jsonargparse and Lightning raise for wrong arguments, as an error of ours.

    Args:
        command: whose arguments they are.

    Raises:
        MmfuseError: in words that a person can act on.
    """
    try:
        yield
    except ArgumentError as error:
        told = readable(str(error))
        if told.startswith("unrecognized"):
            told += f". For the options: mmfuse {command} --help"
        raise ConfigError(told) from error
    except ValueError as error:
        raise ours(error) or error from error
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error


def ours(error: BaseException) -> MmfuseError | None:
    """Our own error among the causes of one that jsonargparse wrapped around it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MmfuseError):
        cause = cause.__cause__ or cause.__context__
    return cause


def readable(message: str) -> str:
    """The part of jsonargparse's message that a person can act on.

    Its report of a mistyped class name says "expected a path"; the name is looked up among
    the known ones here, which says what was meant.
    """
    wrong = re.search(r"Expected a path but ([\w.]+) either not accessible", message)
    wrong = wrong or re.search(r"Expected a dot import path string: ([\w.]+)", message)
    if wrong:
        keys = re.findall(r"Parser key \"([\w.]+)\"", message)
        for key in reversed([part for k in keys for part in k.split(".")]):
            if base := _base(key, message):
                try:
                    resolve(base, wrong[1])
                except ConfigError as error:
                    return str(error)
    if missing := re.search(r"\"config\": File does not exist: (.*)", message):
        return f"There is no configuration at {missing[1]}. Check the path."
    if wrong := re.search(r"class_path '([\w.]+)':[-\s]*Option '(\w+)' is not accepted", message):
        return _no_option(wrong[1], wrong[2])
    given = r"Option '(\w+)' is not accepted\. Got value: Namespace\(class_path='([\w.]+)'"
    if wrong := re.search(given, message):  # of a class that is built later, such as a fusion
        return _no_option(wrong[2], wrong[1])
    message = re.sub(r"Type .*? expects a function or a callable class: ", "", message)
    message = re.sub(r"\.? Got value: .*", ".", message)
    if "arguments are required" in message:
        message += ". Give them in a file with --config, or one by one"
    lines = [line.strip(" -") for line in message.splitlines()]
    noise = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value",
        "Expected a <class 'NoneType",
    )
    kept = [line for line in lines if line and not line.startswith(noise)]
    return "\n  ".join(kept) or message


def _base(key: str, message: str) -> type | None:
    """Whose subclass a key names."""
    if key == "objectives" and "RecommendationTask" in message:
        return Term  # of rankings, and of rows
    if key in _BASES:
        return _BASES[key]
    if key in _LATER:
        module, name = _LATER[key]
        found: type = getattr(importlib.import_module(module), name)
        return found
    return None


def _no_option(path: str, option: str) -> str:
    """What options a class has, the nearest first."""
    module, _, name = path.rpartition(".")
    taken = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    known = [o for o in taken if o not in _FILLED_IN]
    nearest = difflib.get_close_matches(option, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{name} has no option {option!r}.{hint} It has: {', '.join(known)}."
