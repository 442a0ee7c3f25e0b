"""What a configuration lists under ``stages``: for each a name and a whole configuration."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmfuse.errors import ConfigError
from mmfuse.lightning_cli import TASK
from mmfuse.stages.layered import layered
from mmfuse.stages.references import PREFIX, names_in

#: What a stage may have of its own.
TAKES = ("name", "start_from", "seed_everything", "trainer", "model", "data")
_NAME = re.compile(r"(?!version_\d+$)\w[\w.-]*")


@dataclass(frozen=True)
class Stage:
    """One fit of a list.

    Args:
        name: of its folder of runs, and how later stages call it.
        config: all of its configuration, with what it shares with the others.
    """

    name: str
    config: Mapping[str, Any]


def listed(content: Mapping[str, Any]) -> list[Stage]:
    """The stages of a configuration.

    A stage that names no earlier one, and does not say what it starts from, starts from the best
    checkpoint of the stage before it.

    Args:
        content: what YAML gives, with ``stages``.

    Raises:
        ConfigError: the list is empty or none, a stage has no name, another's, or one that cannot
            be a folder's, or a key that stages do not take.
    """
    shared = {k: v for k, v in content.items() if k != "stages"}
    found = content["stages"]
    if not isinstance(found, list) or not found:
        raise ConfigError(
            f"stages is {found!r}; expected a list of fits, each with a name of its own and what "
            "it does not share with the others, such as [{name: teacher, model: ...}]."
        )
    if "start_from" in shared:
        raise ConfigError(
            "start_from stands beside stages, and would be of all of them. Write it in the stage "
            "that starts there."
        )
    model = shared.get("model")
    if isinstance(model, Mapping) and "class_path" not in model:
        shared["model"] = layered(model, {"class_path": TASK})
    stages: list[Stage] = []
    for number, own in enumerate(found, 1):
        name = _name_of(own, number, [s.name for s in stages])
        _check(own, name)
        config = layered(shared, {k: v for k, v in own.items() if k != "name"})
        if stages and "start_from" not in own and not any(names_in(own)):
            config["start_from"] = PREFIX + stages[-1].name
        stages.append(Stage(name, config))
    return stages


def _name_of(own: Any, number: int, taken: Sequence[str]) -> str:
    if not isinstance(own, Mapping) or "name" not in own:
        raise ConfigError(
            f"Stage {number} has no name. Give it one, such as name: student; it is the folder of "
            "its runs, and what later stages call it."
        )
    name = own["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"Stage {number} has the name {name!r}; expected letters, digits, '_', '-' and '.', as "
            "it is the folder of its runs, and not version_<n>, as those are called."
        )
    if name in taken:
        raise ConfigError(f"Two stages have the name {name!r}. Give each a name of its own.")
    return name


def _check(own: Mapping[str, Any], name: str) -> None:
    for key in own:
        if key not in TAKES:
            nearest = difflib.get_close_matches(str(key), TAKES, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(
                f"Stage {name!r} has {key!r}, which a stage does not take.{hint} It takes: "
                f"{', '.join(TAKES)}."
            )
    trainer = own.get("trainer")
    if isinstance(trainer, Mapping) and "default_root_dir" in trainer:
        raise ConfigError(
            f"Stage {name!r} has a trainer.default_root_dir of its own. All stages keep their runs "
            "in one folder: write it in the trainer that stands beside stages."
        )
    if own.get("start_from") in ("best", "last"):
        raise ConfigError(
            f"Stage {name!r}: start_from is {own['start_from']!r}; say of which stage, such as "
            f"{PREFIX}teacher, or give a path."
        )
