import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax

from mmfuse import DataSpec, ModalitySpec, TargetSpec, to_frame

TARGETS = {
    "ill": TargetSpec("binary", ("no", "yes")),
    "kind": TargetSpec("multiclass", ("red", "green", "blue")),
    "tags": TargetSpec("multilabel", ("old", "new")),
    "size": TargetSpec("regression", mean=(100.0,), std=(10.0,)),
    "place": TargetSpec("regression", width=2),
}
SPEC = DataSpec({"a": ModalitySpec.of(1)}, TARGETS)


def batch(rows, **logits):
    """What ``predict_step`` gives for some rows."""
    draw = torch.Generator().manual_seed(0)
    scores = {t: torch.randn(len(rows), s.out_dim, generator=draw) for t, s in TARGETS.items()}
    scores |= {t: torch.as_tensor(z) for t, z in logits.items()}
    return {"row": torch.tensor(rows), **{t: s.predict(scores[t]) for t, s in TARGETS.items()}}


def test_every_kind_of_target_has_its_columns():
    assert list(to_frame([batch([0, 1])], SPEC)) == [
        *("row", "ill", "ill_no", "ill_yes"),
        *("kind", "kind_red", "kind_green", "kind_blue"),
        *("tags_old", "tags_new", "size", "place_0", "place_1"),
    ]


def test_the_columns_hold_classes_probabilities_and_values_in_their_own_units():
    logits = {
        "ill": [[2.0], [-1.0]],
        "kind": [[0.0, 3.0, 1.0], [0.5, 0.0, 9.0]],
        "tags": [[0.0, 1.0], [-2.0, 2.0]],
        "size": [[0.5], [-2.0]],
        "place": [[1.0, 2.0], [3.0, 4.0]],
    }
    frame = to_frame([batch([0, 1], **logits)], SPEC)
    assert frame["ill"].tolist() == ["yes", "no"]
    assert frame["kind"].tolist() == ["green", "blue"]
    np.testing.assert_allclose(frame["ill_yes"], expit([2.0, -1.0]), rtol=1e-6)
    np.testing.assert_allclose(frame[["ill_no", "ill_yes"]].sum(axis=1), 1, rtol=1e-6)
    kinds = frame[["kind_red", "kind_green", "kind_blue"]]
    np.testing.assert_allclose(kinds, softmax(logits["kind"], axis=1), rtol=1e-5)
    np.testing.assert_allclose(frame[["tags_old", "tags_new"]], expit(logits["tags"]), rtol=1e-6)
    assert frame["size"].tolist() == [105.0, 80.0]
    assert frame[["place_0", "place_1"]].to_numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_batches_are_joined_by_row_and_each_row_stands_once():
    first, second = batch([8, 3, 5]), batch([3, 1])
    second["size"][0] = first["size"][1]
    frame = to_frame([first, second], SPEC)
    assert frame["row"].tolist() == [1, 3, 5, 8]
    assert frame.index.tolist() == [0, 1, 2, 3]
    assert frame["size"][3] == first["size"][0].item()
    assert frame["size"][0] == second["size"][1].item()


def test_the_rows_of_a_large_data_set_keep_their_numbers():
    rows = [2**24, 2**24 + 1, 2**40 + 1]
    frame = to_frame([batch(rows)], SPEC)
    assert frame["row"].tolist() == rows
    assert frame["row"].dtype == "int64"


def test_half_precision_scores_give_probabilities_that_sum_to_one():
    frame = to_frame([batch([0, 1], kind=torch.randn(2, 3).bfloat16())], SPEC)
    kinds = frame[["kind_red", "kind_green", "kind_blue"]]
    np.testing.assert_allclose(kinds.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("outputs", [[], [batch([])]])
def test_no_rows_make_an_empty_table_with_the_same_columns(outputs):
    full, empty = to_frame([batch([0])], SPEC), to_frame(outputs, SPEC)
    assert len(empty) == 0
    assert list(empty) == list(full)
    assert pd.concat([full, empty])["row"].tolist() == [0]
