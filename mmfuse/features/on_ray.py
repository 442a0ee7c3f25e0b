"""Extraction on a Ray cluster: a pool of actors, each with its copy of the model."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.features.job import Job, Progress, teller
from mmfuse.features.options import Options
from mmfuse.features.work import alone
from mmfuse.model import Towers


class ShardActor:
    """Computes the shards that Ray Data hands to it.

    Args:
        packed: a model and data of its own, pickled; the data's files, and the folder of the
            features, lie on a file system that all machines share.
        folder: of the features.
        options: of the extraction.
    """

    def __init__(self, packed: bytes, folder: str, options: Options) -> None:
        model, data = pickle.loads(packed)
        self.job = Job(model.eval().to(options.device), data, folder, options)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A block of shard numbers, computed."""
        self.job.run(batch["shard"].tolist())
        return batch


def extract_on_ray(
    model: Towers,
    data: FusionDataModule,
    folder: str | Path,
    options: Options,
    actors: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Extracts with ``map_batches`` over a pool of actors; goes on where it stopped.

    Uses the cluster that is connected, or starts a local one. On GPUs each actor takes one.

    Args:
        model: what to extract with.
        data: where the rows are.
        folder: of the features.
        options: as ``Extractor.extract`` takes them.
        actors: size of the pool.
        progress: told of rows.

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
            ray.data.DataContext.get_current().enable_progress_bars = False
            # One block a shard; not repartition, whose tasks would want the actors' own cores.
            done = ray.data.from_items(
                [{"shard": k} for k in left], override_num_blocks=len(left)
            ).map_batches(
                ShardActor,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(actors, len(left))),
                fn_constructor_args=(
                    pickle.dumps((copy.deepcopy(model).cpu(), data)),
                    str(path),
                    options,
                ),
                num_gpus=1 if options.device == "cuda" else 0,
            )
            logging.getLogger("ray.data").setLevel(logging.ERROR)  # which ray.data has set by now
            tell = teller(progress, sum(map(len, job.parts)), [len(job.parts[k]) for k in left])
            for row in done.iter_rows():
                tell(len(job.parts[row["shard"]]))
        manifest = job.folder.finish()
    assert manifest is not None
    return manifest
