"""mmfuse bind: the configuration, its pools read from folders, and the run."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mmfuse.binding.fit import Training
from mmfuse.binding.methods import BindingMethod
from mmfuse.binding.pairs import Pairs
from mmfuse.binding.pools import Pool
from mmfuse.binding.run import bind
from mmfuse.binding.space import FILE, BoundSpace
from mmfuse.binding.stages import Report
from mmfuse.errors import ConfigError
from mmfuse.registry import resolve

_DESCRIPTION = """\
Binds several frozen embedding spaces into one. Each pool is a set of unpaired items of one
modality; rows with one number are the same item in every folder of a pool."""


@dataclass
class Column:
    """Where a space's vectors of a pool are.

    Args:
        folder: what ``mmfuse extract``, ``Extractor`` or ``features.write`` wrote.
        column: a column of vectors; may be left out if there is one.
    """

    folder: str
    column: str | None = None


@dataclass
class PoolFiles:
    """A pool in folders of features.

    Args:
        modality: what its items are.
        spaces: for each space where its vectors of them are.
        trained: the spaces that were trained on items of this source.
    """

    modality: str
    spaces: dict[str, Column]
    trained: list[str] = field(default_factory=list)

    def read(self) -> Pool:
        """The pool."""
        columns = {s: (c.folder, c.column) for s, c in self.spaces.items()}
        return Pool.read(self.modality, columns, self.trained)


def bind_files(
    pools: dict[str, PoolFiles],
    method: BindingMethod,
    base: str,
    out: str,
    seed: int = 0,
    validation: list[list[str]] | None = None,
    progress: bool = True,
) -> BoundSpace:
    """Binds spaces whose vectors are in folders of features.

    Args:
        pools: unpaired items of one modality and source each, by a name for the source.
        method: such as OmniBind.
        base: the space that the others are brought into.
        out: the folder for the stages and the bound space; the same command goes on there.
        seed: of all random numbers.
        validation: pairs of pools whose rows with the same number belong together, for FreeBind.
        progress: show a bar for each stage.

    Raises:
        MmfuseError: as ``bind``, ``Pool.read``.
    """
    if wrong := [pair for pair in validation or [] if len(pair) != 2]:
        raise ConfigError(f"validation holds {wrong}; expected pairs of two pools.")
    read = {name: files.read() for name, files in pools.items()}
    pairs = [(first, second) for first, second in validation or []]
    with _bars(progress) as report:
        return bind(read, method, base, seed, out, pairs, report)


def run(words: Sequence[str]) -> int:
    """Runs ``mmfuse bind``.

    Args:
        words: after the command's name.

    Raises:
        MmfuseError: a mistake, in one sentence.
    """
    parser = ArgumentParser("mmfuse bind", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument("--config", action="config", help="a YAML file with the options below")
    parser.add_function_arguments(bind_files)
    try:
        given = parser.parse_args(list(words))
        built = parser.instantiate(given)
    except ArgumentError as error:
        raise ConfigError(_readable(str(error))) from error
    bound = bind_files(**{k: v for k, v in vars(built).items() if k != "config"})
    width, names = bound.out_dim, ", ".join(bound.modalities)
    print(f"Bound space: {Path(built.out) / FILE} ({names} in {width} dimensions)")
    return 0


def _readable(message: str) -> str:
    """What a person can act on, of jsonargparse's words."""
    if name := re.search(r"Expected a dot import path string: (\w+)", message):
        key = re.findall(r"Parser key \"([\w.]+)\"", message)[-1]
        bases: dict[str, type] = {"pairs": Pairs, "training": Training}
        try:
            resolve(bases.get(key.rpartition(".")[2], BindingMethod), name[1])
        except ConfigError as error:
            return str(error)
    message = re.sub(r"\. Got value: .*", ".", message, flags=re.DOTALL)
    if "required" in message:
        message += ". Give it in a file with --config, or as an option"
    lines = [line.strip(" -") for line in message.splitlines()]
    return "\n  ".join(line for line in lines if line) + ". For the options: mmfuse bind --help"


@contextmanager
def _bars(are_shown: bool) -> Iterator[Report]:
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not are_shown
    ) as progress:
        bars: dict[str, int] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield report
