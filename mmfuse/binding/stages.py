"""Stages: pieces of work that are kept when done, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mmfuse.binding.fit import Progress
from mmfuse.errors import ConfigError, DataError
from mmfuse.files import digest, replacing, write_json

Module = TypeVar("Module", bound=nn.Module)

#: Told the stage, the steps done and the steps in all.
Report = Callable[[str, int, int], None]


class Stages:
    """Runs each stage once, or reads what it gave before.

    A stage's random numbers depend on the seed and its name alone, so what it gives is the same
    whether the stages before it ran in this process or in one that was killed.

    Args:
        seed: of all.
        plan: what is bound and how, in plain data; a folder serves one plan.
        folder: where to keep them; None to keep nothing.
        report: told of progress.

    Raises:
        ConfigError: the folder holds the stages of another plan, or something else.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        seed: int = 0,
        plan: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.seed, self.report = seed, report
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            _begin(self.folder, json.loads(json.dumps(dict(plan or {}))))

    def tensors(self, name: str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What ``make`` gives, or gave.

        Raises:
            DataError: what was kept cannot be read.
        """
        path = None if self.folder is None else self.folder / "stages" / f"{name}.safetensors"
        if path is not None and path.is_file():
            return _read(path)
        self._tell(name, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(digest([self.seed, name])[:15], 16))
            made = {n: x.detach().cpu().contiguous() for n, x in make().items()}
        if path is not None:
            with replacing(path) as part:
                part.write_bytes(save(made))
        self._tell(name, 1, 1)
        return made

    def fitted(
        self, name: str, make: Callable[[], Module], fit: Callable[[Module, Progress], None]
    ) -> Module:
        """A module that ``fit`` has trained, or trained before, in eval mode and frozen.

        Args:
            name: of the stage.
            make: gives the module with its first weights.
            fit: trains it.

        Raises:
            DataError: what was kept cannot be read, or is of another module.
        """

        def trained() -> dict[str, Tensor]:
            module = make()
            fit(module, lambda done, total: self._tell(name, done, total))
            return dict(module.state_dict())

        state = self.tensors(name, trained)
        module = make()
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(
                f"Stage {name!r} in {self.folder} is of another module: {error}"
            ) from error
        return module.eval().requires_grad_(False)

    def _tell(self, name: str, done: int, total: int) -> None:
        if self.report is not None:
            self.report(name, done, total)


def _begin(folder: Path, plan: Mapping[str, Any]) -> None:
    file = folder / "plan.json"
    if file.is_file():
        found = json.loads(file.read_text())
        if found != plan:
            differing = sorted(k for k in {*found, *plan} if found.get(k) != plan.get(k))
            raise ConfigError(
                f"{folder} holds the stages of a plan with another {', another '.join(differing)}. "
                "Give another folder, or remove this one."
            )
        return
    if folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise ConfigError(f"{folder} exists and holds no stages. Give a new or an empty folder.")
    write_json(plan, file)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors has errors of several kinds
        raise DataError(
            f"{path} cannot be read: {error}. Remove it, and the stage runs again."
        ) from error
