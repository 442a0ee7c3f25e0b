"""Pools: what they take, what they refuse, and how they are read from folders of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmfuse import features
from mmfuse.binding import Pool
from mmfuse.binding.banks import Banks
from mmfuse.errors import ConfigError, DataError

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def test_lengths_mean_nothing_and_a_vector_without_length_is_absent():
    scaled = X * torch.tensor([1e-3, 5.0, 0.0, 1.0, 1e4, 2.0]).unsqueeze(1)
    one, other = Banks({"p": Pool("text", {"s": X})}), Banks({"p": Pool("text", {"s": scaled})})
    bank = other.of["text"]
    assert bank.present["s"].tolist() == [True, True, False, True, True, True]
    here = bank.present["s"]
    torch.testing.assert_close(bank.vectors["s"][here], one.of["text"].vectors["s"][here])
    assert not bank.vectors["s"][2].any()


def test_what_stands_where_a_space_lacks_the_item_has_no_effect():
    spoilt = X.clone()
    spoilt[1] = torch.nan
    there = torch.arange(6) != 1
    found = Pool("text", {"s": spoilt, "t": X}, present={"s": there})
    assert torch.equal(found.present["s"], there)
    assert not found.vectors["s"][1].any()
    assert found.present["t"].all()


def test_duplicates_are_known_by_their_vectors_in_every_space():
    rows = torch.tensor([0, 1, 0, 2, 1, 0])
    same = Banks({"p": Pool("text", {"s": X[rows], "t": X[rows, :2]})})
    assert same.of["text"].item.tolist() == [0, 1, 0, 3, 1, 0]
    other = Banks({"p": Pool("text", {"s": X[rows], "t": X})})
    assert other.of["text"].item.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("vectors", "options", "words"),
    [
        ({}, {}, "no vectors"),
        ({"s": X, "t": X[:3]}, {}, "'t': 3"),
        ({"s": X[:0]}, {}, "above 0"),
        ({"s": X[0]}, {}, r"\(4,\)"),
        ({"s": "text"}, {}, "no tensor"),
        ({"s": torch.full((6, 4), torch.inf)}, {}, "Row 0 of 'text' in space 's'"),
        ({"s": X}, {"trained": ["u"]}, "'u'"),
        ({"s": X}, {"present": {"u": torch.ones(6).bool()}}, "'u'"),
        ({"s": X}, {"present": {"s": torch.ones(6)}}, "one bool"),
        ({"s": X}, {"held_out": torch.ones(3).bool()}, "held_out"),
    ],
)
def test_a_pool_that_means_nothing_is_told(vectors, options, words):
    with pytest.raises(DataError, match=words):
        Pool("text", vectors, **options)


def test_one_space_has_one_width():
    pools = {"p": Pool("text", {"s": X}), "q": Pool("image", {"s": X[:, :2]})}
    with pytest.raises(DataError, match=r"width 4, in pool 'q' of 2"):
        Banks(pools)


@pytest.mark.parametrize("name", ["a.b", "", "keys"])
def test_a_name_that_torch_cannot_take_is_told(name):
    with pytest.raises(ConfigError, match="cannot name"):
        Banks({"p": Pool("text", {name: X})})


def test_folders_are_joined_by_row(tmp_path):
    split = ["train", "train", "val", "test", "train", None]
    features.write(tmp_path / "one", {"a": X, "b": -X}, split=split)
    rows, gaps = [4, 0, 9, 2], [X[4, :3], None, X[5, :3], X[2, :3]]
    splits = ["train", "train", "train", "val"]
    features.write(tmp_path / "two", {"c": gaps}, rows=rows, split=splits, format="safetensors")
    columns = {"s": (tmp_path / "one", "b"), "t": (tmp_path / "two", None)}
    found = Pool.read("text", columns, trained=["t"])
    # Rows 0, 1, 2, 4, 5 and 9: that of the test split is not there.
    torch.testing.assert_close(found.vectors["s"][:5], F.normalize(-X[[0, 1, 2, 4, 5]], dim=1))
    assert found.present["s"].tolist() == [True] * 5 + [False]
    assert found.present["t"].tolist() == [False, False, True, True, False, True]
    expected = F.normalize(X[[2, 4, 5], :3], dim=1)
    torch.testing.assert_close(found.vectors["t"][found.present["t"]], expected)
    assert found.held_out.tolist() == [False, False, True, False, False, False]
    assert found.trained == ("t",)


def test_of_plain_values_all_rows_are_taken_but_never_of_a_test_split(tmp_path):
    import mmfuse
    from mmfuse_encoders import MLPEncoder

    extractor = mmfuse.Extractor({"a": MLPEncoder(4, out_dim=3)})
    extractor.extract({"a": X.tolist()}, tmp_path / "plain")
    assert len(Pool.read("text", {"s": (tmp_path / "plain", None)})) == 6
    extractor.extract({"a": X.tolist()}, tmp_path / "asked", split="test")
    with pytest.raises(DataError, match="test split"):
        Pool.read("text", {"s": (tmp_path / "asked", None)})


def test_folders_that_disagree_on_a_split_are_told(tmp_path):
    features.write(tmp_path / "one", {"a": X}, split="train")
    features.write(tmp_path / "two", {"a": X}, split=["train"] * 4 + ["val"] * 2)
    with pytest.raises(DataError, match="Row 4"):
        Pool.read("text", {"s": (tmp_path / "one", None), "t": (tmp_path / "two", None)})


def test_features_that_hold_nan_are_told(tmp_path):
    spoilt = X.numpy().copy()
    spoilt[2, 1] = np.nan
    features.write(tmp_path / "f", {"a": spoilt})
    with pytest.raises(DataError, match="Row 2"):
        Pool.read("text", {"s": (tmp_path / "f", None)})
