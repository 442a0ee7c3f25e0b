"""Work: batches that are fetched ahead, and the lock that keeps two processes apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.utils.data import DataLoader

from mmfuse.batch import Batch
from mmfuse.data.dataset import FusionDataset
from mmfuse.errors import ConfigError


def batches_ahead(dataset: FusionDataset, parts: Sequence[Tensor], workers: int) -> Iterator[Batch]:
    """Batches in order, each fetched while the one before it is being computed.

    Args:
        dataset: the rows.
        parts: row numbers of each batch.
        workers: processes that fetch; with 0 a thread does.
    """
    if workers:
        yield from DataLoader(
            dataset,
            batch_sampler=[part.tolist() for part in parts],
            num_workers=workers,
            collate_fn=_whole,
            pin_memory=torch.cuda.is_available(),
        )
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(dataset.__getitems__, part) for part in parts[:1]]
        for following in [*parts[1:], None]:
            if not ahead:
                return
            batch = ahead.pop().result()
            if following is not None:
                ahead.append(pool.submit(dataset.__getitems__, following))
            yield batch


def _whole(batch: Any) -> Any:
    return batch


@contextmanager
def alone(folder: Path, who: str) -> Iterator[None]:
    """Refuses a second process that would write the same shards.

    Args:
        folder: of the features.
        who: which part of the work the process does, such as ``0-of-2``; those that share it
            have names with the same ending.

    Raises:
        ConfigError: there is one.
    """
    own = folder / f".process-{who}.lock"
    sharing = who.partition("-of-")[2]
    others = [p for p in folder.glob(".process-*.lock") if p.stem.partition("-of-")[2] != sharing]
    for path in others:
        with _held(path, folder):
            continue
    with _held(own, folder):
        yield


@contextmanager
def _held(path: Path, folder: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"Another process is extracting to {folder}. Let it end, or give another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
