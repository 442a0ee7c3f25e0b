"""Commands on a configuration that lists stages: all are fitted, and the last one is evaluated."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser

from mmfuse.arguments import as_ours
from mmfuse.errors import CheckpointError, ConfigError, MissingFileError, MmfuseError
from mmfuse.lightning_cli import MmfuseCLI
from mmfuse.run_trainer import require_start
from mmfuse.stages.listed import Stage
from mmfuse.stages.references import PREFIX, names_in, with_paths
from mmfuse.stages.runs import FILE, Plan, StageRun, runs_in, why_anew

#: What changes nothing that a run gives.
_ASIDE = ("default_root_dir", "enable_progress_bar", "enable_model_summary")


@dataclass(frozen=True)
class _Fit:
    """A stage whose configuration is parsed."""

    name: str
    config: Namespace
    described: Mapping[str, Any]

    @property
    def options(self) -> Namespace:
        found: Namespace = self.config.fit
        return found

    @property
    def folder(self) -> Path:
        return Path(self.options.trainer.default_root_dir)

    @property
    def reads(self) -> list[str]:
        return list(dict.fromkeys(names_in(self.options)))


class StagesCLI(MmfuseCLI):
    """Fits one stage after another, once the configurations of all of them are known to be good.

    Args:
        stages: what to fit.
        words: for each stage the arguments of a fit.
    """

    def __init__(self, stages: Sequence[Stage], words: Sequence[Sequence[str]]) -> None:
        self._given = list(zip(stages, words, strict=True))
        self._fits: list[_Fit] = []
        super().__init__([])

    # Before anything trains.

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses every stage, and checks what they read of each other."""
        for stage, words in self._given:
            with _of(stage.name):
                super().parse_arguments(parser, list(words))
                options = self.config.fit
                if options.get("start_from") != stage.config.get("start_from"):
                    raise ConfigError(
                        "--start_from would be of all stages. Write start_from in the stage that "
                        "starts there."
                    )
                if options.ckpt_path not in (None, "last"):
                    raise ConfigError(
                        f"ckpt_path is {options.ckpt_path!r}; of stages it can be last alone: "
                        "those that are finished stay, and the one that stopped goes on."
                    )
                _require_earlier(options, [f.name for f in self._fits])
                root = Path(options.trainer.default_root_dir)
                options.trainer.default_root_dir = str(root / stage.name)
                self._fits.append(_Fit(stage.name, self.config, self._described()))
        self._goes_on = self._fits[0].options.ckpt_path == "last"
        if self._goes_on and not any(any(f.folder.glob("version_*")) for f in self._fits):
            raise MissingFileError(
                f"No stage has a run in {self._fits[0].folder.parent}: there is nothing to go on "
                "with. Leave --ckpt_path out, or give the runs' folder as "
                "trainer.default_root_dir."
            )

    def _described(self) -> dict[str, Any]:
        """The configuration at hand in plain data, without what changes nothing."""
        self._dump_config()
        found = json.loads(json.dumps(self.__dict__.pop("config_dump")))
        for key in ("config", "ckpt_path"):
            found.pop(key, None)
        found["trainer"] = {k: v for k, v in found["trainer"].items() if k not in _ASIDE}
        return dict(found)

    def instantiate_classes(self) -> None:
        """Makes every stage's task, data and Trainer, to be told of mistakes now."""
        for fit in self._fits:
            with _of(fit.name):
                self._make(fit.config)
                start = fit.options.start_from
                if start is not None:
                    require_start(self.model, self.datamodule)
                    if not start.startswith(PREFIX) and not Path(start).is_file():
                        raise MissingFileError(
                            f"There is no checkpoint at {start}. Check the path, or name a stage "
                            f"before this one: {PREFIX}NAME."
                        )
                if self._folder.parent != fit.folder or not self.trainer.checkpoint_callbacks:
                    raise ConfigError(
                        "Its Trainer would keep no checkpoint where later stages look for one. "
                        "Leave trainer.logger and trainer.enable_checkpointing as they are, and "
                        "fast_dev_run off."
                    )

    def _make(self, config: Namespace) -> None:
        self.config = config
        self.__dict__.pop("config_dump", None)
        super().instantiate_classes()

    # Stage by stage.

    def _run_subcommand(self, subcommand: str) -> None:
        done: dict[str, StageRun] = {}
        for number, fit in enumerate(self._fits, 1):
            hint = "The stages before it are kept; --ckpt_path last goes on here."
            with _of(fit.name, hint if number > 1 else ""):
                title = f"Stage {number} of {len(self._fits)}, {fit.name}"
                done[fit.name] = self._fit(fit, title, {n: done[n] for n in fit.reads})
        self._say(f"Best checkpoint: {done[self._fits[-1].name].best}")

    def _fit(self, fit: _Fit, title: str, uses: Mapping[str, StageRun]) -> StageRun:
        plan = Plan(fit.described, {n: r.folder.name for n, r in uses.items()})
        earlier = [r for r in runs_in(fit.folder) if not r.is_lost] if self._goes_on else []
        found = next((r for r in earlier if r.plan == plan), None)
        if found is not None and found.is_finished:
            self._say(f"{title}: finished before")
            return found
        config = with_paths(fit.config, {n: str(r.best) for n, r in uses.items()})
        last = None if found is None else found.last
        config.fit.ckpt_path = None if last is None else str(last)
        if last is not None:
            self._say(f"{title}: goes on from {last}")
        elif found is None and earlier:
            self._say(f"{title}: runs anew, as {why_anew(earlier, plan)}")
        else:
            start = config.fit.start_from
            self._say(title if start is None else f"{title}: starts from {start}")
        after = found.folder.name if found is not None and last is not None else None
        self._now = StageRun(fit.folder, plan, after)
        self.config = config
        self._set_seed()
        self._make(config)
        super()._run_subcommand("fit")
        return self._now

    def before_fit(self) -> None:
        """The run's folder says what the run is of."""
        self.trainer.callbacks.append(_Record(self._now))  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """The run's folder says that it is finished."""
        best = Path(getattr(self.trainer.checkpoint_callback, "best_model_path", ""))
        if not best.is_file():
            raise CheckpointError(
                f"The run in {self._folder} left no best checkpoint. A ModelCheckpoint of your own "
                "must keep one: save_top_k, monitor."
            )
        self._now = replace(self._now, folder=self._folder, best=best)
        if self.trainer.is_global_zero:
            self._now.save()


class LastStageCLI(MmfuseCLI):
    """A command on the last stage of a list, and on the newest of its runs that are finished.

    Args:
        stage: the last one.
        words: the command's arguments.
    """

    def __init__(self, stage: Stage, words: Sequence[str]) -> None:
        self._stage = stage
        super().__init__(words)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, and looks for the checkpoints that are meant."""
        with _of(self._stage.name):
            super().parse_arguments(parser, args)
            command = self.config.subcommand
            options = self.config[command]
            folder = Path(options.trainer.default_root_dir) / self._stage.name
            options.trainer.default_root_dir = str(folder)
            run = next((r for r in runs_in(folder) if r.is_finished), None)
            if run is None:
                return
            if options.ckpt_path == "best":
                options.ckpt_path = str(run.best)
            read = {n: folder.parent / n / version for n, version in run.plan.uses.items()}
            runs = {n: StageRun.read(f) for n, f in read.items() if (f / FILE).is_file()}
            self.config[command] = with_paths(options, {n: str(r.best) for n, r in runs.items()})


class _Record(Callback):
    """Writes what a run is of into its folder, once it has one."""

    def __init__(self, run: StageRun) -> None:
        self.run = run

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before the first step."""
        folder = trainer.log_dir  # every process asks, as the first one tells the others
        if trainer.is_global_zero and folder is not None:
            replace(self.run, folder=Path(folder)).save()


def _require_earlier(options: Namespace, earlier: Sequence[str]) -> None:
    for name in names_in(options):
        if name not in earlier:
            nearest = difflib.get_close_matches(name, earlier, n=1)
            hint = f" Did you mean '{PREFIX}{nearest[0]}'?" if nearest else ""
            before = f"Before it: {', '.join(earlier)}." if earlier else "It is the first stage."
            raise ConfigError(
                f"'{PREFIX}{name}' names no stage before it, whose best checkpoint it could take."
                f"{hint} {before}"
            )


@contextmanager
def _of(name: str, hint: str = "") -> Iterator[None]:
    """Errors inside say of which stage they are."""
    where = f"Stage {name!r}"
    try:
        with as_ours("fit"):
            yield
    except MmfuseError as error:
        error.args = (f"{where}: {error} {hint}".rstrip(),)
        raise
    except Exception as error:
        error.add_note(f"{where}. {hint}".rstrip())
        raise
