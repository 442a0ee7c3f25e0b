"""Features: every modality as columns of one matrix, for models that know no modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mmfuse.data import FusionDataModule
from mmfuse.data.columns import Column, NumberColumn, ObjectColumn, RaggedColumn
from mmfuse.data.media import MediaColumn
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec

# What trees see of a text; they do badly on thousands of rare words.
_TEXT_COMPONENTS = 50
_MOST_WORDS = 20_000


def readable(data: FusionDataModule) -> list[str]:
    """The modalities that a classical model reads: all but raw pictures, sounds and videos."""
    columns = data.dataset("train", missing=None).columns
    return [m for m, column in columns.items() if not isinstance(column, MediaColumn)]


class Features:
    """Every modality as columns of one matrix, for models that know no modalities.

    Numbers standardised; categories one-hot, or as codes for trees; texts as TF-IDF of words
    and pairs of words, for trees their first 50 components if there are more; a series by
    mean and deviation of its steps. Vocabulary and statistics come from the training rows. An
    absent modality is zero (the training mean), or NaN for trees, which know what to do with it;
    so is a missing cell, and a linear model sees for each column another that tells its gaps.

    Args:
        data: the data set.
        for_trees: shape the features for gradient boosting, not for a linear model.
        seed: of the components of texts.
        modalities: read these alone; None is all.

    Raises:
        ConfigError: a modality of pictures, sounds or videos.
    """

    def __init__(
        self,
        data: FusionDataModule,
        for_trees: bool = False,
        seed: int = 0,
        modalities: Sequence[str] | None = None,
    ) -> None:
        self.for_trees, self.spec = for_trees, data.spec
        self.columns = data.dataset("train", missing=None).columns
        self._text: dict[str, Any] = {}
        train = data.rows("train").numpy()
        self.modalities = list(self.columns) if modalities is None else list(modalities)
        for m in self.modalities:
            column = self.columns[m]
            if isinstance(column, MediaColumn):
                raise ConfigError(
                    f"Modality {m!r} is raw {self.spec.modalities[m].kind}, which no baseline "
                    "reads. Extract its features with an encoder, and compare on those."
                )
            if isinstance(column, ObjectColumn):
                here = train[column.present[train]]
                self._text[m] = self._vectoriser(column.take(here), seed)

    def _vectoriser(self, texts: Sequence[str], seed: int) -> Any:
        words = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            max_features=_MOST_WORDS,
            token_pattern=r"(?u)\b\w+\b",
        )
        if not any(map(words.build_analyzer(), texts)):
            texts = ["nothing"]  # scikit-learn refuses texts without a single word
        vectors = words.fit_transform(texts)
        if not self.for_trees:
            return words
        if vectors.shape[1] <= _TEXT_COMPONENTS:
            return make_pipeline(words, FunctionTransformer(_dense, accept_sparse=True))
        components = TruncatedSVD(_TEXT_COMPONENTS, random_state=seed).fit(vectors)
        return make_pipeline(words, components)

    def of(
        self, rows: np.ndarray, kept: np.ndarray, modalities: Sequence[str] | None = None
    ) -> Any:
        """The matrix of some rows; sparse if any modality is a text and the model linear.

        Args:
            rows: row numbers.
            kept: ``(rows, M)``, who is there, in the data's order.
            modalities: use these alone; None is all that were read.
        """
        modalities, blocks = self.modalities if modalities is None else modalities, []
        for i, (m, column) in enumerate(self.columns.items()):
            if m in modalities:
                blocks.append(self._block(m, column, rows, kept[:, i]))
        if any(sparse.issparse(b) for b in blocks):
            return sparse.csr_matrix(sparse.hstack(blocks))
        return np.concatenate(blocks, axis=1)

    def _block(self, m: str, column: Column, rows: np.ndarray, kept: np.ndarray) -> Any:
        here = np.flatnonzero(kept)
        values = self._values(m, column, rows[here]) if len(here) else None
        if values is None:
            first = np.flatnonzero(column.present)[:1]
            width = self._values(m, column, first).shape[1]
            return np.full((len(rows), width), np.nan if self.for_trees else 0.0)
        if sparse.issparse(values):
            place = (np.ones(len(here)), (here, np.arange(len(here))))
            return sparse.csr_matrix(place, shape=(len(rows), len(here))) @ values
        block = np.full((len(rows), values.shape[1]), np.nan if self.for_trees else 0.0)
        block[here] = values
        return block

    def _values(self, m: str, column: Column, rows: np.ndarray) -> Any:
        values = self._with_gaps(m, column, rows)
        if self.for_trees or not self.spec.modalities[m].has_gaps:
            return values
        return np.concatenate([np.nan_to_num(values), np.isnan(values)], axis=1)

    def _with_gaps(self, m: str, column: Column, rows: np.ndarray) -> Any:
        spec = self.spec.modalities[m]
        assert not isinstance(column, MediaColumn)
        if isinstance(column, ObjectColumn):
            return self._text[m].transform(column.take(rows))
        if isinstance(column, RaggedColumn):
            series = [_standardised(spec, v) for v in column.take(rows) if v is not None]
            return np.stack([_moments(v) for v in series])
        return self._numbers(spec, column, rows)

    def _numbers(self, spec: ModalitySpec, column: NumberColumn, rows: np.ndarray) -> np.ndarray:
        values = column.take(rows)
        if not spec.categories:
            return _standardised(spec, values).reshape(len(rows), -1)
        numbers = _standardised(spec, values[:, : spec.numeric_width])
        codes = values[:, spec.numeric_width :]
        if self.for_trees:
            return np.concatenate([numbers, codes], axis=1)
        hot = [np.eye(n)[codes[:, i].astype(int)] for i, n in enumerate(spec.categories)]
        return np.concatenate([numbers, *hot], axis=1)


def _moments(steps: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel's known values; NaN for a channel that has none."""
    known = np.ma.masked_invalid(steps)
    return np.ma.concatenate([known.mean(axis=0), known.std(axis=0)]).filled(np.nan)


def _dense(vectors: sparse.spmatrix) -> np.ndarray:
    return np.asarray(vectors.todense())


def _standardised(spec: ModalitySpec, values: np.ndarray) -> np.ndarray:
    if not spec.mean:
        return values
    shape = (-1, 1, 1) if spec.kind == "image" else (-1,)
    return (values - np.reshape(spec.mean, shape)) / np.reshape(spec.std, shape)
