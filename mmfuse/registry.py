"""Names of components: found by scanning subclasses, so that a new class needs no decorator."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from dataclasses import dataclass
from importlib.metadata import entry_points

from mmfuse.errors import ConfigError

# Modules that entry points of these groups name are imported before a scan.
GROUPS = ("mmfuse.encoders", "mmfuse.fusion", "mmfuse.objectives", "mmfuse.data")
_OWN = ("mmfuse.fusion", "mmfuse.objectives", "mmfuse.missing")


@dataclass(frozen=True)
class Entry:
    """One line of ``mmfuse list``: a component's name, what it does, and its paper."""

    name: str
    summary: str
    reference: str


def import_all() -> None:
    """Imports every module that defines components, ours and those of entry points.

    Raises:
        ConfigError: an entry point of an installed package cannot be imported.
    """
    for module in _OWN:
        importlib.import_module(module)
    installed = entry_points()  # once: it reads the metadata of every installed package
    for group in GROUPS:
        for point in installed.select(group=group):
            try:
                point.load()
            except (ImportError, AttributeError) as error:
                package = point.dist.name if point.dist else "an installed package"
                raise ConfigError(
                    f"{package} announces {point.value!r} under {group}, which cannot be "
                    f"imported: {error}. Mend or uninstall {package}."
                ) from error


def _subclasses(base: type) -> list[type]:
    direct: list[type] = base.__subclasses__()
    return direct + [deep for cls in direct for deep in _subclasses(cls)]


def known(base: type) -> dict[str, type]:
    """Every importable, concrete, public subclass of ``base`` by its short name."""
    import_all()
    classes = (
        c
        for c in _subclasses(base)
        if not inspect.isabstract(c)
        and not c.__name__.startswith("_")
        and "<locals>" not in c.__qualname__
    )
    # Of classes with one name (a notebook cell run twice) the last one defined counts.
    return {c.__name__: c for c in sorted(classes, key=lambda c: c.__name__)}


def resolve(base: type, name: str) -> type:
    """The class that ``name`` means: a short name, or a dotted path to import.

    Raises:
        ConfigError: no such class; the message lists the known ones and the nearest match.
    """
    if "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"Cannot import {base.__name__} {name!r}: {error}.") from error
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ConfigError(f"{name} is not a {base.__name__}.")
        return found
    classes = known(base)
    if name in classes:
        return classes[name]
    nearest = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigError(
        f"Unknown {base.__name__} {name!r}.{hint} Known: {', '.join(classes)}. "
        f"A class of your own is named by its dotted path, such as 'my_package.My{base.__name__}'."
    )


def entries(base: type) -> list[Entry]:
    """What ``mmfuse list`` shows for one kind of component."""
    return [_entry(name, cls) for name, cls in known(base).items()]


def _entry(name: str, cls: type) -> Entry:
    doc = inspect.getdoc(cls) or ""
    summary = doc.split("\n", 1)[0]
    match = re.search(r"^References?:\s*(.*?)(?=\n\n|\n\S|\Z)", doc, re.DOTALL | re.MULTILINE)
    return Entry(name, summary, " ".join(match[1].split()) if match else "")
