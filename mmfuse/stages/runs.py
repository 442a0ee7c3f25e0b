"""Runs of a stage: what each is of, how far it came, and which one to go on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mmfuse.checkpoint import differing_parts
from mmfuse.errors import DataError
from mmfuse.files import write_json

FILE = "stage.json"


@dataclass(frozen=True)
class Plan:
    """All that a stage's run depends on.

    Args:
        config: the stage's configuration in plain data, in which ``best:NAME`` stands for the
            checkpoints of earlier stages.
        uses: for each of these stages the run that is meant, ``version_<n>``.
    """

    config: Mapping[str, Any]
    uses: Mapping[str, str]


@dataclass(frozen=True)
class StageRun:
    """One run of a stage.

    Args:
        folder: its folder, ``<root>/<stage>/version_<n>``.
        plan: what it is of.
        after: the run that it went on from, ``version_<n>``; None if it began afresh.
        best: its best checkpoint once it is finished, and None before.
    """

    folder: Path
    plan: Plan
    after: str | None = None
    best: Path | None = None

    def save(self) -> None:
        """Writes the record into the run's folder, whole or not at all.

        Raises:
            OutputError: the folder cannot be written.
        """
        best = None if self.best is None else os.path.relpath(self.best, self.folder)
        content = {
            "finished": best is not None,
            "best": best,
            "after": self.after,
            "uses": self.plan.uses,
            "config": self.plan.config,
        }
        write_json(content, self.folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The run of a folder that has a record.

        Raises:
            DataError: the record cannot be read.
        """
        try:
            told = json.loads((folder / FILE).read_text())
            plan = Plan(told["config"], told["uses"])
            best = None if told["best"] is None else Path(os.path.normpath(folder / told["best"]))
            return cls(folder, plan, told["after"], best)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder / FILE} cannot be read ({error}). Remove it, and the stage runs anew."
            ) from error

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end, and its best checkpoint is still there."""
        return self.best is not None and self.best.is_file()

    @property
    def is_lost(self) -> bool:
        """Whether it came to its end, and somebody has removed its best checkpoint."""
        return self.best is not None and not self.best.is_file()

    @property
    def last(self) -> Path | None:
        """The checkpoint to go on from: its own, or that from which it went on."""
        own = self.folder / "checkpoints" / "last.ckpt"
        if own.is_file() or self.after is None:
            return own if own.is_file() else None
        before = self.folder.with_name(self.after)
        return StageRun.read(before).last if (before / FILE).is_file() else None


def runs_in(folder: Path) -> list[StageRun]:
    """The runs of a stage, the newest first.

    Raises:
        DataError: a record cannot be read.
    """
    records = folder.glob(f"version_*/{FILE}")
    numbered = {int(n): p.parent for p in records if (n := p.parent.name[8:]).isdecimal()}
    return [StageRun.read(numbered[n]) for n in sorted(numbered, reverse=True)]


def why_anew(earlier: Sequence[StageRun], plan: Plan) -> str:
    """Why none of some runs, the newest first, is of a plan: what differs, in words."""
    alike = [r for r in earlier if r.plan.config == plan.config]
    if alike:
        uses = alike[0].plan.uses
        return f"{', '.join(n for n in plan.uses if uses.get(n) != plan.uses[n])} ran anew"
    names = (earlier[0].folder.name, "the configuration")
    return "; ".join(differing_parts(earlier[0].plan.config, plan.config, names))
