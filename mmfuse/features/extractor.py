"""Extractor: any model or encoders, any data -> features in files, resumably."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.features import fingerprint
from mmfuse.features.columns import Column, check_names, compute
from mmfuse.features.folder import FORMAT, FeatureFolder
from mmfuse.features.inputs import as_data
from mmfuse.features.shard import SPLITS, WRITERS, Format, ShardWriter
from mmfuse.features.work import alone, batches_ahead
from mmfuse.files import replacing
from mmfuse.model import FusionModel, Towers
from mmfuse.recorded import describe

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Dtype = Literal["float32", "float16", "bfloat16"]
OnError = Literal["raise", "absent", "skip"]
Split = Literal["train", "val", "test"]
Progress = Callable[[int, int], None]


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
        precision: Literal["32-true", "bf16-mixed"] = "32-true",
    ) -> None:
        if precision not in ("32-true", "bf16-mixed"):
            raise ConfigError(f"precision is {precision!r}; expected 32-true or bf16-mixed.")
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
        progress: Progress | None = None,
    ) -> dict[str, Any] | None:
        """Extracts features; goes on where an earlier call stopped.

        Args:
            data: a DataModule, or what ``ArrayData`` takes for its inputs, a DataFrame, or a
                ``datasets.Dataset`` with a column for each modality.
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
            progress: told the rows done and the rows in all of this process.

        Returns:
            the manifest, or None while other processes are still at work.

        Raises:
            ConfigError: an option that means nothing; or ``out`` holds features of another
                model, other data, or made with other options or library versions.
            DataError: a row that cannot be read, with ``on_error="raise"``.
            OutputError: the folder cannot be written.
        """
        data = as_data(data, self.model)
        what = list(self._default() if what is None else what)
        _check(what, format, dtype, shard_rows, batch_size, on_error, self.model)
        data.attach(self.model.preprocess)
        rows, splits = _rows(data, split)
        shards = [part for part in rows.split(shard_rows) if len(part)]
        folder = FeatureFolder(out)
        folder.begin(
            {
                "format": FORMAT,
                "kind": format,
                "dtype": dtype,
                "what": what,
                "rows": len(rows),
                "shards": len(shards),
                "shard_rows": shard_rows,
                "batch_size": batch_size,
                "split": split,
                "on_error": on_error,
                "device": self.device.type,
                "precision": self.precision,
                **self._record(data),
            }
        )
        mine = {k: part for k, part in enumerate(shards) if k % world == rank}
        with alone(folder.path, rank, world):
            todo = {
                folder.shard(k, len(shards), format): part
                for k, part in mine.items()
                if not folder.is_done(folder.shard(k, len(shards), format))
            }
            total, left = (sum(map(len, parts.values())) for parts in (mine, todo))
            tell = _teller(progress, total - left, total)
            dataset = data.dataset("test", missing=None)
            dataset.on_error = "raise" if on_error == "raise" else "absent"
            parts = [batch for part in todo.values() for batch in part.split(batch_size)]
            batches = batches_ahead(dataset, parts, workers)
            for path, part in todo.items():
                folder.sweep(path)
                notes = Notes()
                with replacing(path) as temporary:
                    writer = WRITERS[format](temporary, data.spec.targets)
                    for _ in part.split(batch_size):
                        batch = next(batches)
                        found = self._compute(batch, what)
                        notes.take(writer, batch, splits, found, DTYPES[dtype], on_error == "skip")
                        tell(len(batch))
                    writer.close()
                folder.note(path, asdict(notes))
            return folder.finish()

    def _default(self) -> list[str]:
        return [*self.model.modalities, *(["fused"] if isinstance(self.model, FusionModel) else [])]

    @torch.inference_mode()
    def _compute(self, batch: Batch, what: Sequence[str]) -> dict[str, Column]:
        is_mixed = self.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_mixed):
            return compute(self.model, batch.to(self.device), what)

    def _record(self, data: FusionDataModule) -> dict[str, Any]:
        description = self.model.describe()
        encoders = {
            m: {
                "fingerprint": fingerprint.of_module(e, describe(e, without=("spec",))),  # type: ignore[arg-type]
                "is_frozen": e.frozen,
                "preprocessing": e.preprocessing(),  # type: ignore[operator]
            }
            for m, e in self.model.encoders.items()
        }
        return {
            "model": {
                "fingerprint": fingerprint.of_module(self.model, description),
                "description": description,
            },
            "encoders": encoders,
            "data": {
                "fingerprint": fingerprint.of_data(data),
                "content": fingerprint.content_of(data),
            },
            "spec": json.loads(json.dumps(data.spec.to_dict())),
            "libraries": fingerprint.libraries(),
        }


@dataclass
class Notes:
    """What is told of one shard beside its digest."""

    rows: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(
        self,
        writer: ShardWriter,
        batch: Batch,
        splits: Tensor,
        found: Mapping[str, Column],
        dtype: torch.dtype,
        skips: bool,
    ) -> None:
        """Hands a batch to the writer; without the rows that have a problem, if ``skips``."""
        bad = {p.row for p in batch.problems} if skips else set()
        kept = torch.tensor([row not in bad for row in batch.index.tolist()])
        columns = {n: c.to(dtype).rows(kept) for n, c in found.items()}
        targets = batch.target if isinstance(batch.target, Mapping) else {}
        index = batch.index[kept]
        writer.write(index, splits[index], columns, {t: v[kept] for t, v in targets.items()})
        self.rows += len(index)
        self.skipped += batch.index[~kept].tolist()
        self.problems += [asdict(p) for p in batch.problems]
        self.columns |= {n: c.facts() for n, c in columns.items()}


def _teller(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """Counts rows on from ``done`` and tells ``progress``."""

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    tell(0)
    return tell


def _check(
    what: Sequence[str],
    format: str,
    dtype: str,
    shard_rows: int,
    batch_size: int,
    on_error: str,
    model: Towers,
) -> None:
    check_names(what, model)
    if format not in WRITERS:
        raise ConfigError(f"format is {format!r}; expected {' or '.join(WRITERS)}.")
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; expected {', '.join(DTYPES)}.")
    if dtype == "bfloat16" and format == "parquet":
        raise ConfigError(
            "Parquet has no bfloat16. Give dtype float16 or float32, or format safetensors."
        )
    if shard_rows < 1 or batch_size < 1:
        raise ConfigError(
            f"shard_rows is {shard_rows}, batch_size is {batch_size}; expected 1 up for both."
        )
    if on_error not in ("raise", "absent", "skip"):
        raise ConfigError(f"on_error is {on_error!r}; expected raise, absent or skip.")


def _rows(data: FusionDataModule, split: Split | None) -> tuple[Tensor, Tensor]:
    """The rows to extract, and the code of every row's split; -1 for none."""
    total = len(data.dataset("test", missing=None))
    splits = torch.full((total,), -1, dtype=torch.long)
    for code, name in enumerate(SPLITS):
        splits[data.rows(name)] = code  # type: ignore[arg-type]
    if split is None:
        return torch.arange(total), splits
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; expected train, val or test, or none for all rows.")
    return data.rows(split), splits
