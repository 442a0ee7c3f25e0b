"""MultimodalArrays: rows of several modalities, selected as scikit-learn selects."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import _safe_indexing, indexable

from mmfuse.errors import DataError
from mmfuse.sklearn import MultimodalArrays


@pytest.fixture
def arrays():
    return MultimodalArrays(
        {
            "array": np.arange(10).reshape(5, 2),
            "tensor": torch.arange(5),
            "frame": pd.DataFrame({"c": list("vwxyz")}, index=[9, 8, 7, 6, 5]),
            "texts": ["a", None, "c", "d", "e"],
        }
    )


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (np.array([3, 0]), [3, 0]),
        ([4, 4], [4, 4]),
        (np.array([True, False, False, True, False]), [0, 3]),
        (slice(1, 3), [1, 2]),
        (2, [2]),
    ],
)
def test_every_modality_gives_the_rows_that_an_index_selects(arrays, key, rows):
    found = _safe_indexing(arrays, key)
    assert len(found) == len(rows)
    assert found.arrays["array"][:, 0].tolist() == [2 * r for r in rows]
    assert found.arrays["tensor"].tolist() == rows
    assert found.arrays["frame"]["c"].tolist() == ["vwxyz"[r] for r in rows]
    assert found.arrays["texts"] == [["a", None, "c", "d", "e"][r] for r in rows]


def test_scikit_learn_splits_them(arrays):
    indexable(arrays, range(5))
    train, test = train_test_split(arrays, test_size=2, random_state=0)
    assert sorted(train.arrays["tensor"].tolist() + test.arrays["tensor"].tolist()) == [*range(5)]
    assert [len(arrays[rows]) for rows, _ in KFold(5).split(arrays)] == [4] * 5


def test_a_row_that_is_not_there_is_refused(arrays):
    with pytest.raises(IndexError):
        arrays[[5]]


def test_they_pickle(arrays):
    assert pickle.loads(pickle.dumps(arrays)).arrays["texts"] == arrays.arrays["texts"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "'a': 2, 'b': 1"),
        ({}, "no rows"),
        ({"a": 3}, "'a' is a int"),
        ({"a": "text"}, "'a' is a str"),
    ],
)
def test_what_has_no_common_rows_is_refused_by_name(given, message):
    with pytest.raises(DataError, match=message):
        MultimodalArrays(given)
