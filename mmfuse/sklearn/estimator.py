"""FusionEstimator: what the estimators share, from X to a trained model."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

import lightning as L
import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mmfuse.batch import Batch
from mmfuse.data.groups import Groups
from mmfuse.data.prepare import MissingCells
from mmfuse.data.source import Source
from mmfuse.data.targets import RawTarget
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import Missingness
from mmfuse.model import FusionModel
from mmfuse.objectives import Objective
from mmfuse.recorded import describe
from mmfuse.robustness import RobustnessResult, evaluate
from mmfuse.sklearn.arrays import MultimodalArrays
from mmfuse.sklearn.inputs import SourceData, columns_of, source_of, spelled_out
from mmfuse.sklearn.training import draw_split, quiet, train
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec

TARGET = "y"
#: What the columns of a plain array or frame are called as a modality.
TABLE = "table"


class FusionEstimator(BaseEstimator, ABC):
    """Base of the estimators; ``FusionClassifier`` says what the arguments are."""

    model_: FusionModel
    modalities_: tuple[str, ...]
    n_iter_: int
    _groups: Groups
    #: Time bins of a survival target, which one estimator alone has and lets a person choose.
    survival_bins = 4

    def __init__(
        self,
        fusion: str | Callable[[dict[str, int]], Fusion] | Mapping[str, Any] = "SequentialFusion",
        encoders: Mapping[str, str | Callable[[ModalitySpec], Encoder] | Mapping[str, Any]]
        | None = None,
        columns: Groups | None = None,
        objectives: list[Objective] | None = None,
        max_epochs: int = 50,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        modality_dropout: float = 0.0,
        missing: Missingness | None = None,
        missing_cells: MissingCells = "error",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        accelerator: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.fusion = fusion
        self.encoders = encoders
        self.columns = columns
        self.objectives = objectives
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.modality_dropout = modality_dropout
        self.missing = missing
        self.missing_cells = missing_cells
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.accelerator = accelerator
        self.random_state = random_state
        self.verbose = verbose

    # What a subclass writes.

    @abstractmethod
    def _learn_target(self, y: Any) -> tuple[RawTarget, np.ndarray, tuple[str, ...]]:
        """The target for training, what to stratify by, and the classes' names, if any."""

    @abstractmethod
    def _known_target(self, y: Any) -> RawTarget:
        """The target of other rows, coded as in training."""

    # What scikit-learn calls.

    def fit(self, X: Any, y: Any) -> Self:
        """Trains a new model.

        Args:
            X: a mapping of modalities, ``MultimodalArrays``, a DataFrame, or a 2-D array.
            y: one label, value, or row of them for each row of ``X``.

        Raises:
            ConfigError: a parameter that cannot be used.
            DataError: rows or targets that cannot be learned from.
            UnknownModalityError: ``encoders`` names other modalities than ``X`` has.
        """
        self._check_parameters()
        self._groups = {}
        for name in ("n_features_in_", "feature_names_in_"):  # an earlier fit may have set them
            self.__dict__.pop(name, None)
        source = self._source(X, None)
        target, strata, names = self._learn_target(y)
        if len(source.data) < 2:
            raise DataError(
                f"X has n_samples = {len(source.data)}; expected 2 or more to learn from."
            )
        seed = self._seed()
        split = None
        if len(strata) == len(source.data):
            split = draw_split(strata, self.validation_fraction, seed)
        data = self._data(source, target, split, seed, self.missing)
        spec = data.spec
        if names:
            own = replace(spec.targets[TARGET], classes=names)
            spec = DataSpec(spec.modalities, {TARGET: own})
        adamw = functools.partial(
            torch.optim.AdamW, lr=self.learning_rate, weight_decay=self.weight_decay
        )
        task, self.n_iter_ = train(
            data,
            spec,
            {
                "encoders": self.encoders,
                "fusion": self.fusion,
                "objectives": copy.deepcopy(self.objectives),
                "optimizer": adamw,
                "modality_dropout": self.modality_dropout,
            },
            seed,
            self.n_iter_no_change,
            max_epochs=self.max_epochs,
            accelerator=self.accelerator,
            enable_progress_bar=bool(self.verbose),
        )
        assert task.model is not None
        self.model_ = task.model.eval()
        self.modalities_ = self.model_.modalities
        return self

    def robustness(self, X: Any, y: Any, **options: Any) -> RobustnessResult:
        """What becomes of the predictions when modalities are absent.

        Args:
            X: rows that the model was not trained on.
            y: their labels or values.
            **options: of ``mmfuse.robustness.evaluate``: ``conditions`` (the standard ones by
                default), ``bootstrap``, ``importance``, ``seed``.

        Raises:
            NotFittedError: ``fit`` was not called.
            DataError, UnknownModalityError: rows that the model does not know how to read.
        """
        check_is_fitted(self, "model_")
        data = self._data(self._source(X, self.model_.spec), self._known_target(y))
        data.adopt(self.model_.spec)
        data.attach(self.model_.preprocess)
        told = {
            "missing": describe(self.missing) if self.missing else None,
            "modality_dropout": self.modality_dropout or None,
        }
        options = {"trained_with": told, **options}
        batches = data.loader("train", missing=None)
        return evaluate(self.model_, batches, data.facts("train"), **options)

    def _predict(self, X: Any) -> np.ndarray:
        """Probabilities or values ``(N, K)``, float32 as everything that the model computes."""
        check_is_fitted(self, "model_")
        data = self._data(self._source(X, self.model_.spec))
        data.adopt(self.model_.spec)
        data.attach(self.model_.preprocess)
        with quiet():
            device = L.Fabric(accelerator=self.accelerator, devices=1).device
        predict = self._target_spec.predict
        found = [predict(logits.double()) for logits in self._logits(data, device)]
        return torch.cat(found).float().numpy()

    @property
    def _target_spec(self) -> TargetSpec:
        return self.model_.spec.targets[TARGET]

    def _logits(self, data: SourceData, device: torch.device) -> Iterator[torch.Tensor]:
        model = self.model_.to(device)
        try:
            with torch.no_grad():
                batch: Batch
                for batch in data.loader("train", missing=None):
                    yield model(batch.to(device)).logits[TARGET].cpu()
        finally:
            model.cpu()

    # From X and y to data.

    def _source(self, X: Any, trained: DataSpec | None) -> Source:
        """The modalities of ``X``; with ``trained`` as the model knows them."""
        if isinstance(X, Mapping) and not issparse(X):  # one of scipy's matrices is a mapping
            X = MultimodalArrays(X)
        if self.columns is not None and not isinstance(X, pd.DataFrame):
            raise ConfigError(
                f"columns groups the columns of a DataFrame; X is a {type(X).__name__}. Give a "
                "DataFrame, or set columns to None."
            )
        if isinstance(X, MultimodalArrays):
            return source_of(X, {}, trained)
        is_first = trained is None
        if isinstance(X, pd.DataFrame):
            frame = self._named_columns(X, is_first)
            validate_data(self, frame, reset=is_first, skip_check_array=True)
            if not frame.size:
                raise DataError(f"X has shape {frame.shape}. Give at least one row and column.")
            return source_of(frame, self._groups or {TABLE: list(frame.columns)}, trained)
        array = validate_data(self, X, reset=is_first, ensure_all_finite="allow-nan")
        gaps = np.isnan(array)
        partly = np.flatnonzero(gaps.any(axis=1) & ~gaps.all(axis=1))
        if self.missing_cells == "error" and len(partly):
            raise DataError(
                f"Input X contains NaN among numbers in {len(partly)} rows, the first {partly[0]}. "
                'Fill the cells, make the whole row NaN (absent), or set missing_cells to "mean" '
                'or "keep".'
            )
        return source_of(MultimodalArrays({TABLE: array}), {}, trained)

    def _named_columns(self, X: pd.DataFrame, is_first: bool) -> pd.DataFrame:
        """The columns that ``columns`` names, however those of ``X`` are ordered."""
        if is_first:  # a pattern means the columns that it meant in training
            self._groups = spelled_out(self.columns or {}, X)
        wanted = columns_of(spelled_out(self._groups, X))
        return X[wanted] if wanted else X

    def _data(
        self,
        source: Source,
        target: RawTarget | None = None,
        split: np.ndarray | None = None,
        seed: int = 0,
        missing: Missingness | None = None,
    ) -> SourceData:
        if target is not None and len(target.values) != len(source.data):
            raise DataError(
                f"X has {len(source.data)} rows, y has {len(target.values)}. Give one y for each "
                "row of X."
            )
        if split is None:  # one part holds all rows, those to predict too
            split = np.full(len(source.data), "train")
        targets = {} if target is None else {TARGET: target}
        return SourceData(
            replace(source, targets=targets, split=split),
            batch_size=self.batch_size,
            val=0.0,
            test=0.0,
            seed=seed,
            missing_cells=self.missing_cells,
            missing=missing,
            on_duplicates="allow",
            survival_bins=self.survival_bins,
        )

    def _seed(self) -> int:
        if self.random_state is None:  # from the system, not from numpy's global state
            return int(np.random.default_rng().integers(2**31))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_parameters(self) -> None:
        for name in ("max_epochs", "batch_size", "n_iter_no_change"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                f"validation_fraction is {self.validation_fraction}; expected 0 (none) up to "
                "less than 1."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # In any cell, as scikit-learn means it; a row of NaN alone is welcome either way.
        tags.input_tags.allow_nan = self.missing_cells != "error"
        tags.target_tags.required = True
        tags.non_deterministic = self.random_state is None
        return tags
