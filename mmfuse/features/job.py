"""Job: the shards of one extraction, computed in any order by any number of processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.encoder import Encoder
from mmfuse.features import fingerprint
from mmfuse.features.columns import Column, compute
from mmfuse.features.options import DTYPES, Options
from mmfuse.features.shard import WRITERS, ShardWriter
from mmfuse.features.work import batches_ahead
from mmfuse.files import digest, replacing
from mmfuse.model import Towers
from mmfuse.recorded import describe
from mmfuse.store import FORMAT, SPLITS, FeatureFolder

#: Told the rows done and the rows in all.
Progress = Callable[[int, int], None]


class Job:
    """One extraction: its plan, which is written at once, and its shards.

    What is in a shard depends on the plan alone, never on who computes it or when.

    Args:
        model: in eval mode, on its device.
        data: with the model's statistics.
        folder: of the features.
        options: checked.

    Raises:
        ConfigError: the folder holds something else.
    """

    def __init__(
        self, model: Towers, data: FusionDataModule, folder: str | Path, options: Options
    ) -> None:
        data.attach(model.preprocess)
        self.model, self.data, self.options = model, data, options
        # The very device, of several of one kind; the plan tells the kind alone.
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        rows, self.splits = _rows(data, options)
        self.parts = [part for part in rows.split(options.shard_rows) if len(part)]
        self.folder = FeatureFolder(folder)
        self.folder.begin(
            {
                "format": FORMAT,
                **asdict(options),
                "rows": len(rows),
                "shards": len(self.parts),
                **record(model, data),
            }
        )

    def __len__(self) -> int:
        return len(self.parts)

    def path(self, k: int) -> Path:
        """Where shard ``k`` is, or will be."""
        return self.folder.shard(k, len(self), self.options.kind)

    def run(
        self, shards: Iterable[int], workers: int = 0, progress: Progress | None = None
    ) -> dict[str, Any] | None:
        """Computes those of the shards that are not there yet.

        Args:
            shards: their numbers.
            workers: processes that fetch ahead.
            progress: told of rows.

        Returns:
            the manifest, if these were the last.
        """
        mine = list(shards)
        todo = [k for k in mine if not self.folder.is_done(self.path(k))]
        total = sum(len(self.parts[k]) for k in mine)
        tell = teller(progress, total, [len(self.parts[k]) for k in todo])
        dataset = self.data.dataset("test", missing=None)
        dataset.on_error = "raise" if self.options.on_error == "raise" else "absent"
        batches = {k: self.parts[k].split(self.options.batch_size) for k in todo}
        ahead = batches_ahead(dataset, [rows for k in todo for rows in batches[k]], workers)
        for k in todo:
            self.folder.sweep(self.path(k))
            notes = Notes()
            with replacing(self.path(k)) as temporary:
                writer = WRITERS[self.options.kind](temporary, self.data.spec.targets)
                for _ in batches[k]:
                    batch = next(ahead)
                    notes.take(writer, batch, self.splits, self._compute(batch), self.options)
                    tell(len(batch))
                writer.close()
            self.folder.note(self.path(k), asdict(notes))
        return self.folder.finish()

    @torch.inference_mode()
    def _compute(self, batch: Batch) -> dict[str, Column]:
        is_mixed = self.options.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_mixed):
            return compute(self.model, batch.to(self.device), self.options.what)


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
        options: Options,
    ) -> None:
        """Hands a batch to the writer, without the rows that are to be skipped."""
        bad = {p.row for p in batch.problems} if options.on_error == "skip" else set()
        kept = torch.tensor([row not in bad for row in batch.index.tolist()])
        columns = {n: c.to(DTYPES[options.dtype]).rows(kept) for n, c in found.items()}
        targets = batch.target if isinstance(batch.target, Mapping) else {}
        index = batch.index[kept]
        writer.write(index, splits[index], columns, {t: v[kept] for t, v in targets.items()})
        self.rows += len(index)
        self.skipped += batch.index[~kept].tolist()
        self.problems += [asdict(p) for p in batch.problems]
        self.columns |= {n: c.facts() for n, c in columns.items()}


def record(model: Towers, data: FusionDataModule) -> dict[str, Any]:
    """What makes the features: model, preprocessing, data, libraries."""
    description, content = model.describe(), data.content()
    encoders = {m: cast(Encoder, e) for m, e in model.encoders.items()}
    return {
        "model": {
            "fingerprint": fingerprint.of_module(model, description),
            "description": description,
        },
        "encoders": {
            m: {
                "fingerprint": fingerprint.of_encoder(e),
                "class_path": describe(e, without=("spec",))["class_path"],
                "is_frozen": e.frozen,
                "preprocessing": e.preprocessing(),
            }
            for m, e in encoders.items()
        },
        "data": {"fingerprint": digest(content), "content": content},
        "spec": json.loads(json.dumps(data.spec.to_dict())),
        "libraries": fingerprint.libraries(),
    }


def _rows(data: FusionDataModule, options: Options) -> tuple[Tensor, Tensor]:
    """The rows to extract, and the code of every row's split; -1 for none."""
    total = len(data.dataset("test", missing=None))
    splits = torch.full((total,), -1, dtype=torch.long)
    for code, name in enumerate(SPLITS):
        splits[data.rows(name)] = code  # type: ignore[arg-type]
    return torch.arange(total) if options.split is None else data.rows(options.split), splits


def teller(progress: Progress | None, total: int, left: Iterable[int]) -> Callable[[int], None]:
    """Counts rows on from those that are done and tells ``progress``.

    Args:
        progress: whom to tell, if anyone.
        total: rows in all.
        left: rows of each shard that is not there yet.
    """
    done = total - sum(left)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    tell(0)
    return tell
