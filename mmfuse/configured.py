"""Commands on a configuration: one fit, or the stages that it lists."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmfuse.arguments import as_ours
from mmfuse.errors import ConfigError
from mmfuse.lazy import import_names
from mmfuse.lightning_cli import COMMANDS, MmfuseCLI
from mmfuse.registry import import_all
from mmfuse.runs import hush
from mmfuse.stages.cli import LastStageCLI, StagesCLI
from mmfuse.stages.listed import Stage, listed
from mmfuse.trainer import Trainer

_CONFIG = ("--config", "-c")
#: The task of every stage is its own; an option would be of all.
_OF_ONE_STAGE = ("--model", "--model.class_path")


def run(args: Sequence[str]) -> None:
    """Parses and runs one command.

    Raises:
        MmfuseError: a mistake in the configuration, the data or the checkpoint.
        KeyboardInterrupt: the run was interrupted, and has been closed in order.
    """
    hush()
    # The words are sys.argv's own, or a test's.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    import_all()  # so that the short class names of every installed package are known
    import_names("mmfuse.recommend")
    import_names("mmfuse.suites")
    try:
        with as_ours(args[0]):
            _run(args, _stages(args))
    except SystemExit as error:
        # Lightning ends an interrupted run in an orderly way, then leaves with status 1.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def _run(args: Sequence[str], stages: Sequence[Stage]) -> None:
    if not stages:
        MmfuseCLI(shared_configs(args))
    elif args[0] == "compare":
        raise ConfigError(
            "The configuration lists stages, and compare varies one fit. Give it the config.yaml "
            "in the folder of a stage's run, which is of that stage alone."
        )
    elif args[0] != "fit":
        LastStageCLI(stages[-1], shared_configs(args, stages[-1]))
    else:
        for word in args:
            if (option := word.partition("=")[0]) in _OF_ONE_STAGE:
                raise ConfigError(
                    f"{option} would give every stage the same task. Write it in the stage's model."
                )
        StagesCLI(stages, [shared_configs(args, stage) for stage in stages])


def _stages(args: Sequence[str]) -> list[Stage]:
    """The stages that the configuration lists; empty where it is of one fit."""
    lists = [content for _, content in _configs(args) if "stages" in content]
    if len(lists) > 1:
        raise ConfigError("Two configurations list stages. Give one.")
    return listed(lists[0]) if lists else []


def shared_configs(args: Sequence[str], stage: Stage | None = None) -> list[str]:
    """Arguments in which each ``--config`` is fit for the command at hand.

    One file serves every command; what only another one takes, such as the fusions of
    ``compare`` for ``fit``, is left out. A fusion that takes another's place starts from its
    own defaults: jsonargparse would keep what the two have options for.

    Args:
        args: the command's name and its arguments.
        stage: whose configuration stands for that of the file that lists it.
    """
    takes = {c: set(inspect.signature(getattr(Trainer, c)).parameters) for c in COMMANDS}
    foreign = set().union(*takes.values()) - takes[args[0]] | {"weights_only"}
    found = []
    for word, content in _configs(args):
        if word.partition("=")[0] == "--model.fusion":
            found.append("--model.fusion=null")
        if "stages" in content and stage is not None:
            content = stage.config
        elif not foreign & set(content):
            found.append(word)
            continue
        kept = {k: v for k, v in content.items() if k not in foreign}
        found.append(f"--config={yaml.safe_dump(kept, sort_keys=False)}")
    return found


def _configs(args: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each argument, and what is in the file if it is a configuration's."""
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in _CONFIG:
            yield word, {}
            continue
        path = Path(value if equals else next(words, ""))
        try:
            content = yaml.safe_load(path.read_text()) if path.is_file() else None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
        yield f"--config={path}", content if isinstance(content, dict) else {}
