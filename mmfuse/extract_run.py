"""What `mmfuse extract` does: a checkpoint or frozen encoders, and data -> a folder of features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmfuse import checkpoint
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.features import Extractor
from mmfuse.features.columns import TOKENS
from mmfuse.model import Towers
from mmfuse.store.folder import FeatureFolder
from mmfuse.tasks import FusionTask

Engine = Literal["local", "ray"]


def extract_run(
    trainer: L.Trainer,
    data: FusionDataModule,
    folder: str | Path,
    task: L.LightningModule | None,
    ckpt_path: str | None,
    engine: Engine = "local",
    actors: int = 2,
    **options: Any,
) -> dict[str, Any] | None:
    """Extracts features on whatever ``trainer`` runs on.

    Args:
        trainer: its device, processes and precision, and whether there is a progress bar.
        data: where the rows are.
        folder: of the features.
        task: names the encoders; needed without a checkpoint.
        ckpt_path: a trained model.
        engine: ``local`` for this process and those of the strategy or of torchrun; ``ray``
            for a pool of actors on a Ray cluster.
        actors: size of that pool.
        **options: as ``Extractor.extract``.

    Returns:
        the manifest, or None while other processes are still at work.

    Raises:
        ConfigError: nothing trained to extract with, or as ``Extractor.extract``.
    """
    shown = trainer.progress_bar_callback is not None
    device, what = trainer.strategy.root_device, options.get("what")
    # Extractor refuses what it does not know.
    precision = cast(Literal["32-true", "bf16-mixed"], trainer.precision)
    if engine == "ray":
        extractor = Extractor(_model(data, task, ckpt_path, what), device, precision)
        with _bar(shown) as progress:
            options |= {"engine": engine, "actors": actors}
            manifest = extractor.extract(data, folder, progress=progress, **options)
        return _told(manifest, folder, shown)

    def work() -> dict[str, Any] | None:
        rank, world = _place(trainer)
        extractor = Extractor(_model(data, task, ckpt_path, what), device, precision)
        with _bar(shown and rank == 0) as progress:
            return extractor.extract(
                data,
                folder,
                workers=data.workers,
                rank=rank,
                world=world,
                progress=progress,
                **options,
            )

    launcher = trainer.strategy.launcher
    if launcher is None:
        return _told(work(), folder, shown)
    manifest = launcher.launch(work, trainer=trainer)
    for process in getattr(launcher, "procs", []):  # those that this one started
        process.wait()
        manifest = FeatureFolder(folder).finish()
    return _told(manifest, folder, shown and trainer.is_global_zero)


def _model(
    data: FusionDataModule,
    task: L.LightningModule | None,
    ckpt_path: str | None,
    what: Sequence[str] | None,
) -> Towers:
    """A checkpoint's model, a trained task's, or the frozen encoders that a task names."""
    if ckpt_path is not None:
        return checkpoint.load(ckpt_path)
    if not isinstance(task, FusionTask):
        raise ConfigError("There is nothing to extract with. Give a checkpoint or a task.")
    if task.model is not None:
        return task.model
    towers = task.towers(data.spec)
    if what is not None:
        named = [m for m in towers.modalities if {m, m + TOKENS} & set(what)]
        towers = towers.only(named) if named else towers
    learning = [m for m, e in towers.encoders.items() if not e.frozen]
    if learning:
        frozen = [m for m in towers.modalities if m not in learning]
        raise ConfigError(
            f"The encoders of {learning} have not been trained. Give a checkpoint, such as "
            "--ckpt_path=best; or name those with nothing left to learn (frozen, or pretrained "
            f"with no out_dim) with --what; here {frozen or 'none'}."
        )
    return towers


def _place(trainer: L.Trainer) -> tuple[int, int]:
    """This process's number, and how many there are."""
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect():
            launched = kind()
            return launched.global_rank(), launched.world_size()
    own = getattr(trainer.strategy, "cluster_environment", None)
    if own is None:
        return 0, 1
    return own.node_rank() * trainer.num_devices + own.local_rank(), trainer.world_size


@contextlib.contextmanager
def _bar(is_shown: bool) -> Iterator[Any]:
    columns = TextColumn("extracting"), BarColumn(), MofNCompleteColumn(), TextColumn("rows")
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not is_shown) as bar:
        task = bar.add_task("extracting", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _told(
    manifest: dict[str, Any] | None, folder: str | Path, shown: bool
) -> dict[str, Any] | None:
    if not shown:
        return manifest
    if manifest is None:
        print(f"This process's part is done; others are still writing to {folder}.")
        return None
    for modality, count in manifest["problem_counts"].items():
        print(f"{count} rows of {modality!r} could not be read; manifest.json lists them.")
    print(
        f"Features: {folder} ({manifest['rows_written']:,} rows: {', '.join(manifest['columns'])})"
    )
    return manifest
