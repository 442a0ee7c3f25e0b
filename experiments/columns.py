"""Named sets as columns of numbers with their own test rows, for studies of small models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from mmfuse import ArrayData, CatalogueData

sys.path.insert(0, str(Path(__file__).parent / "av_digits"))
from baseline import features


@dataclass(frozen=True)
class Columns:
    """A set's rows, those that its splits use.

    Args:
        inputs: each modality, ``(N, D)`` float32.
        label: ``(N,)`` classes.
        is_test: ``(N,)`` bool, the set's own test rows.
    """

    inputs: Mapping[str, np.ndarray]
    label: np.ndarray
    is_test: np.ndarray

    @classmethod
    def of(cls, name: str) -> Columns:
        """From the catalogue; of sounds and images MFCC and pixels, as their baselines read."""
        data = CatalogueData(name)
        source = data.dataset("train")
        every = np.arange(len(source.present))
        if name.startswith("av_digits"):
            inputs = features(data)
        elif name == "womens_clothing":
            return cls._reviews(data)
        else:
            inputs = {m: column.take(every) for m, column in source.columns.items()}
        (label,) = source.targets.values()
        splits = {s: data.rows(s).numpy() for s in ("train", "val", "test")}
        used = np.isin(every, np.concatenate(list(splits.values())))
        return cls(
            {m: np.asarray(x, np.float32)[used] for m, x in inputs.items()},
            label.numpy()[used],
            np.isin(every, splits["test"])[used],
        )

    @classmethod
    def _reviews(cls, data: CatalogueData, rows: int = 4000) -> Columns:
        """Texts as 64 components of tf-idf, found on the training rows; so many of these."""
        source = data.dataset("train")
        draw = np.random.default_rng(0)
        train = np.sort(draw.permutation(np.concatenate([data.rows("train"), data.rows("val")])))
        train = np.sort(draw.choice(train, rows, replace=False))
        test = data.rows("test").numpy()
        used = np.concatenate([train, test])
        present = source.present.numpy()[used]
        inputs = {}
        for i, (m, column) in enumerate(source.columns.items()):
            values = column.take(used)
            if data.spec.modalities[m].kind == "text":
                words = ["" if v is None else v for v in values]
                weigh = TfidfVectorizer(min_df=3, stop_words="english")
                weigh.fit([w for w, p in zip(words[:rows], present[:rows, i], strict=True) if p])
                reduce = TruncatedSVD(64, random_state=0).fit(weigh.transform(words[:rows]))
                values = reduce.transform(weigh.transform(words))
            elif codes := data.spec.modalities[m].categories:
                values = np.concatenate(
                    [np.eye(k)[values[:, j].astype(int)] for j, k in enumerate(codes)], 1
                )
            inputs[m] = np.where(present[:, [i]], values, np.nan).astype(np.float32)
        (label,) = source.targets.values()
        return cls(inputs, label.numpy()[used], np.arange(len(used)) >= rows)

    def data(self, seed: int, *modalities: str, **options: Any) -> ArrayData:
        """Some modalities, or all; the seed draws who validates."""
        return ArrayData(
            {m: self.inputs[m] for m in modalities or self.inputs},
            self.label,
            target_kinds={"y": "multiclass"},
            split=np.where(self.is_test, "test", "train"),
            seed=seed,
            **{"on_duplicates": "drop", **options},
        )
