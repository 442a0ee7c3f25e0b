"""FusionDataModule: from a source to loaders, with splits, statistics and masks on record."""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data.cached import with_cached
from mmfuse.data.dataset import FusionDataset, OnError
from mmfuse.data.loader import BatchOrder, InOrder, ResumableLoader
from mmfuse.data.prepare import Duplicates, MissingCells, Options, Ready, Scale, prepare
from mmfuse.data.reading import Preprocess
from mmfuse.data.run_data import RunData
from mmfuse.data.source import Source, only_modalities
from mmfuse.errors import ConfigError, DataError
from mmfuse.files import digest, replacing, write_json
from mmfuse.missing import Missingness, RowFacts
from mmfuse.recorded import describe
from mmfuse.spec import DataSpec

Split = Literal["train", "val", "test"]
#: Whose simulated absence applies: the split's own, another simulator's, or none but natural gaps.
Missing = Missingness | None | Literal["own"]


class FusionDataModule(RunData):
    """Base of all data: a subclass reads its source, the base does everything else.

    Args:
        batch_size: rows a training batch.
        eval_batch_size: rows a batch elsewhere.
        workers: processes that fetch ahead.
        val: share of rows that validate, when the source does not say.
        test: share of rows that test, when the source gives no split; 1 for all rows, which
            needs a checkpoint.
        seed: of the splits and the order of batches.
        split_seed: of the splits alone, so that runs with other seeds have the same ones.
        standardise: give the model each feature's mean and deviation over the present
            training rows.
        scale: what standardisation makes of those rows: mean 0 and deviation 1 (``deviation``),
            or values from 0 to 1 by their minimum and maximum (``range``).
        missing_cells: an empty cell of a present row is an ``error``, takes the training
            ``mean``, or is left to an encoder that takes missing cells (``keep``); an empty
            category is always code 0.
        missing: who is taken away from training and validation rows, on top of natural gaps.
        test_missing: likewise from test rows.
        on_duplicates: rows that occur in two splits are an ``error``; ``drop`` takes them
            out of the earlier split (training, then validation); ``allow`` leaves them.
        is_class_weighted: weigh classes by the inverse of their training frequency.
        survival_bins: time bins of survival targets, whose hazards the model learns; they end
            at quantiles of the training events' times, the last at the last training time. 0
            for Cox's model.
        on_error: a row that cannot be decoded, or that its encoder cannot use, is an error
            (``raise``), or counts as absent and is listed in ``Batch.problems`` (``absent``).
        cached: for a modality the folder of features that its frozen encoder made of this
            data (``mmfuse extract``); they are read in place of the raw rows, and the model
            takes them in place of the encoder, with the same results.
        only: the modalities to use, as a model of one alone needs; all by default. The splits
            are those of all.

    Raises:
        ConfigError: an option outside its range.
        UnknownModalityError: at set-up, ``only`` names what the source has not.
        DataError: at set-up, when the content does not fit what it claims to be.
    """

    def __init__(
        self,
        batch_size: int = 64,
        eval_batch_size: int = 512,
        workers: int = 0,
        val: float = 0.2,
        test: float = 0.2,
        seed: int = 0,
        standardise: bool = True,
        scale: Scale = "deviation",
        missing_cells: MissingCells = "error",
        missing: Missingness | None = None,
        test_missing: Missingness | None = None,
        on_duplicates: Duplicates = "error",
        is_class_weighted: bool = False,
        survival_bins: int = 4,
        on_error: OnError = "raise",
        cached: dict[str, str] | None = None,
        only: list[str] | None = None,
        split_seed: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected 1 up.")
        if eval_batch_size < 1:
            raise ConfigError(f"eval_batch_size is {eval_batch_size}; expected 1 up.")
        if workers < 0:
            raise ConfigError(f"workers is {workers}; expected 0 up.")
        if not 0 <= val < 1:
            raise ConfigError(f"val is {val}; expected a share from 0 up to, but not, 1.")
        if not 0 <= test <= 1:
            raise ConfigError(f"test is {test}; expected a share from 0 to 1.")
        if on_duplicates not in ("error", "drop", "allow"):
            raise ConfigError(f"on_duplicates is {on_duplicates!r}; expected error, drop or allow.")
        if scale not in ("deviation", "range"):
            raise ConfigError(f"scale is {scale!r}; expected deviation or range.")
        has_no_mean = missing_cells == "mean" and not (standardise and scale == "deviation")
        if missing_cells not in ("error", "mean", "keep") or has_no_mean:
            raise ConfigError(
                f'missing_cells is {missing_cells!r}; expected "error", "keep", or "mean" '
                'together with standardise=True and scale="deviation".'
            )
        if survival_bins < 0:
            raise ConfigError(f"survival_bins is {survival_bins}; expected 1 up, or 0 for Cox.")
        if on_error not in ("raise", "absent"):
            raise ConfigError(f"on_error is {on_error!r}; expected raise or absent.")
        self.on_error, self.cached, self.only = on_error, cached or {}, only
        self.batch_size, self.eval_batch_size, self.workers = batch_size, eval_batch_size, workers
        self.seed, self.missing, self.test_missing = seed, missing, test_missing
        drawn = seed if split_seed is None else split_seed
        self._options = Options(
            val,
            test,
            drawn,
            standardise,
            scale,
            missing_cells,
            on_duplicates,
            is_class_weighted,
            survival_bins,
        )
        self._adopted: DataSpec | None = None
        self._ready: Ready | None = None
        self._preprocess: dict[str, Preprocess] = {}

    @abstractmethod
    def read(self) -> Source:
        """Reads the source; called once, at set-up."""

    def ids(self, column: str) -> np.ndarray:
        """A column of the source that names its rows, for what is joined with them.

        Raises:
            ConfigError: this kind of source has no columns beside its modalities.
            DataError: there is no such column.
        """
        raise ConfigError(
            f"A {type(self).__name__} has no column {column!r} of ids. Give each row's id, or "
            "name rows by their number."
        )

    # Set-up.

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits, checks and measures the data, once."""
        if self._ready is None:
            raw = source = self.read()
            if self.cached:
                source = with_cached(raw, self.cached, digest(self.content()))
            if self.only is not None:
                source = only_modalities(source, self.only)
            self._ready = prepare(source, self._options, self._adopted, raw)

    @property
    def _set_up(self) -> Ready:
        self.setup()
        assert self._ready is not None
        return self._ready

    def adopt(self, spec: DataSpec) -> None:
        """Takes a trained model's statistics, classes and category levels for its own.

        With them a checkpoint reads a file that holds no training rows.
        """
        self._adopted = spec
        if self._ready is not None and self._ready.spec != spec:
            self._ready = None

    def attach(self, preprocess: Mapping[str, Preprocess]) -> None:
        """Takes the encoders' preprocessing, which then runs in the data workers."""
        self._preprocess = dict(preprocess)

    # What others ask.

    @property
    def spec(self) -> DataSpec:
        """What the data looks like."""
        return self._set_up.spec

    def rows(self, split: Split) -> Tensor:
        """Row numbers of a split, ascending."""
        return self._set_up.parts[split]

    @property
    def is_validated(self) -> bool:
        """Whether there are validation rows."""
        return len(self.rows("val")) > 0

    def facts(self, split: Split) -> RowFacts:
        """What simulators may know of a split's rows."""
        return self.dataset(split, missing=None).facts(self.rows(split))

    def dataset(self, split: Split, missing: Missing = "own") -> FusionDataset:
        """The whole data set as one split sees it.

        Args:
            split: decides whose simulated absence applies.
            missing: another simulator, or None for natural gaps alone.
        """
        ready = self._set_up
        if missing == "own":
            missing = self.test_missing if split == "test" else self.missing
        made = FusionDataset(
            ready.columns, ready.spec, ready.targets, ready.facts, missing, self.on_error
        )
        made.preprocess = self._preprocess
        return made

    def loader(
        self, split: Split, missing: Missing = "own", is_training: bool = False
    ) -> ResumableLoader[Batch]:
        """Batches of a split.

        Args:
            split: which rows.
            missing: another simulator than the split's own, or None for natural gaps alone.
            is_training: shuffle, use ``batch_size``, and even out processes.

        Raises:
            DataError: the split is empty.
        """
        rows = self.rows(split)
        if not len(rows):
            raise DataError(
                f"The {split} split is empty. Give it a share, or rows in the split column."
            )
        trainer = self.trainer
        order = BatchOrder(
            rows,
            self.batch_size if is_training else self.eval_batch_size,
            shuffle=is_training,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            is_even=is_training,
        )
        return ResumableLoader(self.dataset(split, missing), order, self.workers)

    def train_dataloader(self) -> ResumableLoader[Batch]:
        """Training batches, shuffled."""
        return self.loader("train", is_training=True)

    def val_dataloader(self) -> ResumableLoader[Batch] | list[ResumableLoader[Batch]]:
        """Validation batches; none to train with when no share was asked for.

        Raises:
            DataError: the split is empty, and ``Trainer.validate`` is to score it; or several
                processes train together, and one has no row.
        """
        is_asked_for = self.trainer is not None and self.trainer.state.fn == "validate"
        count, world = len(self.rows("val")), self.trainer.world_size if self.trainer else 1
        if not is_asked_for and 0 < count < world:
            raise DataError(
                f"The val split has fewer rows ({count}) than there are processes ({world}). "
                "Give it more rows, or take fewer processes."
            )
        return self.loader("val") if is_asked_for or count else []

    def test_dataloader(self) -> ResumableLoader[Batch]:
        """Test batches."""
        return self.loader("test")

    def predict_dataloader(self) -> InOrder:
        """The test rows."""
        return InOrder(self.loader("test"))

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Moves a batch; on a CPU there is nothing to move, and steps are short."""
        return batch if batch.index.device == device else batch.to(device, non_blocking=True)

    # Records.

    def settings(self) -> dict[str, Any]:
        """How this data is made, in plain data."""
        return describe(self)

    def content(self) -> dict[str, Any]:
        """What decides what the rows hold, in plain data; not how they are split and loaded."""
        return content_of(self.settings())

    def reseeded(self, seed: int) -> Self:
        """The same data with another seed for splits, order and simulated absence."""
        changed = {
            "seed": seed,
            "missing": self.missing and self.missing.reseeded(seed),
            "test_missing": self.test_missing and self.test_missing.reseeded(seed),
        }
        given = {k: v for k, v in changed.items() if k == "seed" or v is not None}
        return type(self)(**{**self._arguments, **given})

    def narrowed(self, modalities: list[str]) -> Self:
        """The same data, splits included, with some of its modalities alone."""
        return type(self)(**{**self._arguments, "only": modalities})

    def save(self, folder: str | Path) -> None:
        """Writes ``rows.parquet`` (split and realised masks of every row) and ``data.json``.

        Raises:
            OutputError: the folder cannot be written.
        """
        ready, folder = self._set_up, Path(folder)
        frames = []
        for name, rows in ready.parts.items():
            own = self.dataset(name)  # type: ignore[arg-type]
            realised = own.present[rows]
            if own.missing is not None and len(rows):
                realised = realised & own.missing.keep(own.facts(rows))
            columns: dict[str, Any] = {"row": rows.numpy(), "split": name}
            for i, m in enumerate(ready.spec.modalities):
                columns[f"has_{m}"] = own.present[rows, i].numpy()
                columns[f"shown_{m}"] = realised[:, i].numpy()
            frames.append(pd.DataFrame(columns))
        with replacing(folder / "rows.parquet") as part:
            pd.concat(frames).sort_values("row", ignore_index=True).to_parquet(part)
        record = {"settings": self.settings(), "spec": ready.spec.to_dict()}
        write_json(record | {"dropped_duplicates": ready.dropped}, folder / "data.json")


def content_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of ``FusionDataModule.settings`` that decides what the rows hold."""
    base = inspect.signature(FusionDataModule).parameters
    arguments = {k: v for k, v in settings["init_args"].items() if k not in base}
    found: dict[str, Any] = json.loads(json.dumps({**settings, "init_args": arguments}))
    return found
