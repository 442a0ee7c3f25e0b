"""Extraction on a Ray cluster: a pool of actors, each with its copy of the model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.features.job import Job
from mmfuse.features.options import Options
from mmfuse.features.work import alone
from mmfuse.model import Towers
from mmfuse.store.folder import FeatureFolder


class ShardActor:
    """Computes the shards that Ray Data hands to it.

    Args:
        model: a copy of its own.
        data: likewise; its files lie where every machine sees them.
        folder: of the features, on a file system that all machines share.
        options: of the extraction.
    """

    def __init__(
        self, model: Towers, data: FusionDataModule, folder: str, options: Options
    ) -> None:
        self.job = Job(model.eval().to(options.device), data, folder, options)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A block of shard numbers, computed."""
        self.job.run(batch["shard"].tolist())
        return batch


def extract_on_ray(
    model: Towers, data: FusionDataModule, folder: str | Path, options: Options, actors: int = 2
) -> dict[str, Any]:
    """Extracts with ``map_batches`` over a pool of actors; goes on where it stopped.

    Uses the cluster that ``ray.init`` or the environment has connected to; starts a local one
    otherwise. On GPUs each actor takes one.

    Args:
        model: what to extract with.
        data: where the rows are.
        folder: of the features.
        options: as ``Extractor.extract`` takes them.
        actors: size of the pool.

    Raises:
        ConfigError: Ray is not installed, or ``actors`` is below 1.
    """
    if actors < 1:
        raise ConfigError(f"actors is {actors}; expected 1 up.")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "The Ray engine needs Ray Data, which is not installed: pip install mmfuse[ray]"
        ) from error
    path = Path(folder).resolve()
    job = Job(model, data, path, options)
    with alone(path, "ray"):
        left = [k for k in range(len(job)) if not job.folder.is_done(job.path(k))]
        if left:
            if not ray.is_initialized():
                ray.init(logging_level=logging.ERROR)
            ray.data.from_items([{"shard": k} for k in left]).repartition(len(left)).map_batches(
                ShardActor,
                batch_size=1,
                concurrency=min(actors, len(left)),
                fn_constructor_args=(model.cpu(), data, str(path), options),
                num_gpus=1 if options.device == "cuda" else 0,
            ).materialize()
        manifest = FeatureFolder(path).finish()
    assert manifest is not None
    return manifest
