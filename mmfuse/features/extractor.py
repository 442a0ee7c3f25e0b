"""Extractor: any model or encoders, any data -> features in files, resumably."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.features.inputs import fitted
from mmfuse.features.job import Job, Progress
from mmfuse.features.options import (
    Dtype,
    OnError,
    Options,
    Precision,
    Split,
    default_columns,
)
from mmfuse.features.shard import Format
from mmfuse.features.work import alone
from mmfuse.model import Towers


class Extractor:
    """Computes features of rows and writes them to files that other tools read.

    Work goes shard by shard. A shard appears whole or not at all, and what is in it depends
    on the model and the data alone; so a run that was killed goes on where it stopped, any
    number of processes may share the work, and the files are always the same.

    Args:
        model: a trained model, or an encoder for each modality.
        device: where to compute.
        precision: ``32-true``, or ``bf16-mixed`` for autocasting to bfloat16.

    Example:
        >>> import tempfile, mmfuse
        >>> from mmfuse_encoders import MLPEncoder
        >>> extractor = Extractor({"a": MLPEncoder(2, out_dim=4)})
        >>> folder = Path(tempfile.mkdtemp()) / "features"
        >>> manifest = extractor.extract({"a": [[1.0, 2.0], None, [3.0, 4.0]]}, folder)
        >>> mmfuse.features.load(folder)["a"][1] is None
        True
    """

    def __init__(
        self,
        model: Towers | Mapping[str, Encoder],
        device: torch.device | str = "cpu",
        precision: Precision = "32-true",
    ) -> None:
        self.model = model if isinstance(model, Towers) else Towers.of(model)
        self.model.eval().to(device)
        self.device, self.precision = torch.device(device), precision

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> Extractor:
        """An extractor around the encoders of one pretrained model.

        Args:
            name: ``library:model``, such as ``open_clip:ViT-B-32/laion2b_s34b_b79k``,
                ``torchvision:resnet50/IMAGENET1K_V2``, ``timm:vit_base_patch16_224``,
                ``transformers:sentence-transformers/all-MiniLM-L6-v2``,
                ``torchaudio:HUBERT_BASE`` or ``clap:laion/clap-htsat-unfused``. Local files
                and folders may stand where the library takes them.
            **options: ``device`` and ``precision`` as above.

        Raises:
            ConfigError: an unknown library or model, or weights that are not at hand.
        """
        from mmfuse.features.pretrained import encoders_of

        return cls(encoders_of(name), **options)

    def extract(
        self,
        data: FusionDataModule | Mapping[str, Any] | Any,
        out: str | Path,
        what: Sequence[str] | None = None,
        split: Split | None = None,
        format: Format = "parquet",
        dtype: Dtype = "float32",
        shard_rows: int = 8192,
        batch_size: int = 256,
        workers: int = 0,
        on_error: OnError = "raise",
        rank: int = 0,
        world: int = 1,
        engine: Literal["local", "ray"] = "local",
        actors: int = 2,
        progress: Progress | None = None,
    ) -> dict[str, Any] | None:
        """Extracts features; goes on where an earlier call stopped.

        Args:
            data: a DataModule, or what ``ArrayData`` takes for its inputs, a DataFrame, or a
                ``datasets.Dataset`` with a column for each modality. Encoders whose modality
                is not there take no part; a fusion counts it as absent.
            out: the folder of the features.
            what: a modality's name for its pooled vector, ``<modality>.tokens`` for its
                tokens, ``fused``, ``steps`` (states of a sequential fusion), ``logits``; the
                modalities and, from a model, ``fused`` by default.
            split: the rows; all by default, with a column that tells the split.
            format: ``parquet``, or ``safetensors``.
            dtype: of the stored numbers. Parquet has no bfloat16.
            shard_rows: rows a file.
            batch_size: rows a batch.
            workers: processes that fetch ahead; with 0 a thread does.
            on_error: a row that cannot be read stops the work (``raise``), has its modality
                counted as absent, or is left out (``skip``). The manifest lists it.
            rank: this process.
            world: number of processes that share the work.
            engine: ``local`` for this process, or ``ray`` for a pool of actors on the Ray
                cluster that is connected, or a local one.
            actors: size of that pool.
            progress: told the rows done and the rows in all of this process.

        Returns:
            the manifest, or None while other processes are still at work.

        Raises:
            ConfigError: an option that means nothing; or ``out`` holds features of another
                model, other data, or made with other options or library versions.
            DataError: a row that cannot be read, with ``on_error="raise"``.
            OutputError: the folder cannot be written.
        """
        data, model = fitted(data, self.model)
        options = Options(
            tuple(default_columns(model) if what is None else what),
            split,
            format,
            dtype,
            shard_rows,
            batch_size,
            on_error,
            self.precision,
            self.device.type,
        )
        options.check(model)
        if engine == "ray":
            from mmfuse.features.on_ray import extract_on_ray

            return extract_on_ray(model, data, out, options, actors, progress)
        if engine != "local":
            raise ConfigError(f"engine is {engine!r}; expected local or ray.")
        job = Job(model, data, out, options)
        with alone(job.folder.path, f"{rank}-of-{world}"):
            return job.run(range(rank, len(job), world), workers, progress)
