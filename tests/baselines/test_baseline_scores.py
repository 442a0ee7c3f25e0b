import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mmfuse import ArrayData, TableData
from mmfuse.baselines import (
    BASELINES,
    BOOSTING,
    LINEAR,
    Features,
    baseline_scores,
    modality_scores,
    readable,
)
from mmfuse.errors import ConfigError
from mmfuse.media import Sound
from mmfuse.missing import FixedPattern
from mmfuse.robustness import Condition

ROWS = 150
TRAIN, VAL = 100, 10
SPLIT = ["train"] * TRAIN + ["val"] * VAL + ["test"] * (ROWS - TRAIN - VAL)
TEST = slice(TRAIN + VAL, ROWS)
COMPLETE = Condition("complete", "complete", 0.0, None)


@pytest.fixture
def rows():
    """``told`` gives the class away, ``noise`` knows nothing; the class of every row."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, ROWS)
    told = draw.normal(size=(ROWS, 3)) + 6 * label[:, None]
    return told, draw.normal(size=(ROWS, 2)), label


def data_of(told, noise, label, **options):
    return ArrayData({"told": told, "noise": noise}, label, split=SPLIT, **options)


def value(frame, **where):
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    return frame["value"].item()


def test_a_modality_that_tells_the_class_scores_high_and_noise_does_not(rows):
    found = modality_scores(data_of(*rows), bootstrap=50)
    assert list(found) == ["model", "modalities", "target", "metric", "value", "low", "high"]
    assert set(found["modalities"]) == {"told", "noise", "told,noise"}
    assert set(found["model"]) == set(BASELINES)
    area = found[found["metric"] == "auroc"]
    for model in BASELINES:
        assert value(area, model=model, modalities="told") > 0.95
        assert value(area, model=model, modalities="told,noise") > 0.95
        assert value(area, model=model, modalities="noise") < 0.75
    assert (area["low"] <= area["value"]).all()
    assert (area["value"] <= area["high"]).all()


def test_raw_sounds_are_passed_over_and_change_no_score(rows):
    told, noise, label = rows
    data = data_of(told, noise, label)
    draw = np.random.default_rng(1)
    sounds = [Sound(draw.uniform(-1, 1, (1, 50)).astype(np.float32), 1000) for _ in label]
    heard = ArrayData({"told": told, "voice": sounds, "noise": noise}, label, split=SPLIT)
    assert readable(heard) == ["told", "noise"]
    pd.testing.assert_frame_equal(
        modality_scores(heard, bootstrap=10), modality_scores(data, bootstrap=10)
    )
    with pytest.raises(ConfigError, match="raw audio"):
        baseline_scores(LINEAR, heard, [COMPLETE])


def test_the_linear_score_is_that_of_scikit_learn_on_standardised_columns(rows):
    told, noise, label = rows
    found = modality_scores(data_of(told, noise, label), bootstrap=0)
    z = (noise - noise[:TRAIN].mean(axis=0)) / noise[:TRAIN].std(axis=0)
    model = LogisticRegression(max_iter=5000).fit(z[:TRAIN], label[:TRAIN])
    expected = roc_auc_score(label[TEST], model.predict_proba(z[TEST])[:, 1])
    assert value(
        found, model=LINEAR, modalities="noise", target="y", metric="auroc"
    ) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("variant", BASELINES)
def test_each_condition_takes_its_modalities_from_the_test_rows(rows, variant):
    conditions = [
        COMPLETE,
        Condition("told", "subset", 0.0, FixedPattern(["told"])),
        Condition("noise", "subset", 0.0, FixedPattern(["noise"])),
        Condition("nothing", "subset", 1.0, FixedPattern([])),
    ]
    found = baseline_scores(variant, data_of(*rows), conditions)
    assert list(found) == ["condition", "target", "metric", "value"]
    area = {c.name: value(found, condition=c.name, metric="auroc") for c in conditions}
    assert min(area["complete"], area["told"]) > 0.95
    assert area["noise"] < 0.75
    assert area["nothing"] == 0.5


@pytest.mark.parametrize("variant", BASELINES)
def test_natural_gaps_are_missing_values_not_errors(rows, variant):
    told, noise, label = rows
    told[::3] = np.nan
    found = baseline_scores(variant, data_of(told, noise, label), [COMPLETE])
    assert 0.7 < value(found, metric="auroc") < 1


@pytest.mark.parametrize("variant", BASELINES)
def test_the_baseline_trains_under_the_simulated_absence_of_the_training_rows(rows, variant):
    whole = baseline_scores(variant, data_of(*rows), [COMPLETE])
    without = data_of(*rows, missing=FixedPattern(["noise"]))
    blind = baseline_scores(variant, without, [COMPLETE])
    assert value(whole, metric="auroc") > 0.95 > value(blind, metric="auroc")


@pytest.mark.parametrize("variant", BASELINES)
def test_test_rows_and_their_labels_teach_nothing(rows, variant, monkeypatch):
    told, noise, label = rows
    seen = []

    def predictions(told, label):
        def watch(spec, predicted, wanted, *_, **__):
            seen.append(predicted)
            return []

        monkeypatch.setattr("mmfuse.baselines.evaluate.score", watch)
        baseline_scores(variant, data_of(told, noise, label), [COMPLETE])
        return seen.pop()[0]

    before = predictions(told, label)
    turned = label.copy()
    turned[TEST] = 1 - turned[TEST]
    np.testing.assert_array_equal(predictions(told, turned), before)
    strange = told.copy()
    strange[-1] = 1e4
    np.testing.assert_array_equal(predictions(strange, label)[:-1], before[:-1])


def test_rows_without_a_label_are_left_out_of_training_and_of_the_score(rows):
    told, noise, label = rows
    known = pd.array(label, dtype="Int64")
    known[:50] = known[-5:] = pd.NA
    found = modality_scores(data_of(told, noise, np.array(known, dtype=object)), bootstrap=0)
    assert value(found, model=LINEAR, modalities="told", metric="auroc") > 0.95


def test_several_targets_have_a_line_each(rows):
    told, noise, label = rows
    size = told[:, 0] * 2.0
    size[3] = np.nan
    targets = {"kind": label, "size": size}
    found = baseline_scores(BOOSTING, data_of(told, noise, targets), [COMPLETE])
    assert value(found, target="size", metric="r2") > 0.8
    assert value(found, target="kind", metric="auroc") > 0.95
    assert not set(found[found["target"] == "size"]["metric"]) & {"auroc"}


def test_progress_names_each_model_before_it_is_fitted(rows):
    named = []
    modality_scores(data_of(*rows), bootstrap=0, progress=named.append)
    assert named == [f"{b}, {m}" for b in BASELINES for m in ("told", "noise", "told,noise")]


# Features.


def test_an_absent_modality_is_zero_for_the_linear_model_and_nan_for_trees(rows):
    data = data_of(*rows)
    some, kept = np.array([0, 1]), np.array([[True, False], [False, True]])
    linear, trees = (Features(data, for_trees=t).of(some, kept) for t in (False, True))
    assert (linear[0, 3:] == 0).all()
    assert (linear[1, :3] == 0).all()
    assert np.isnan(trees[0, 3:]).all()
    assert np.isnan(trees[1, :3]).all()
    np.testing.assert_array_equal(linear[0, :3], trees[0, :3])
    nobody = Features(data, for_trees=True).of(some, np.zeros((2, 2), bool))
    assert nobody.shape == (2, 5)
    assert np.isnan(nobody).all()


def test_the_columns_of_chosen_modalities_stand_alone(rows):
    features = Features(data_of(*rows))
    everyone = np.ones((ROWS, 2), bool)
    whole = features.of(np.arange(ROWS), everyone)
    np.testing.assert_array_equal(features.of(np.arange(ROWS), everyone, ["noise"]), whole[:, 3:])
    np.testing.assert_allclose(whole[:TRAIN].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(whole[:TRAIN].std(axis=0), 1, atol=1e-5)


@pytest.fixture
def table(tmp_path):
    """A table with numbers, a category, and a note that tells the class or is empty."""
    draw = np.random.default_rng(0)
    sick = draw.integers(0, 2, ROWS)
    frame = pd.DataFrame(
        {
            "age": draw.normal(50, 10, ROWS),
            "ward": draw.choice(["north", "south", "west"], ROWS),
            "note": [f"{('well', 'fever')[s]} case{i}" for i, s in enumerate(sick)],
            "sick": sick,
            "part": SPLIT,
        }
    )
    frame.loc[::4, "note"] = None

    def write(**columns):
        path = tmp_path / "table.parquet"
        frame.assign(**columns).to_parquet(path)
        groups = {"facts": ["age", "ward"], "note": {"columns": ["note"], "kind": "text"}}
        return TableData(str(path), groups, "sick", split="part")

    return write


def test_texts_and_categories_become_columns_too(table):
    data = table()
    linear, trees = Features(data), Features(data, for_trees=True)
    some, kept = np.arange(8), np.ones((8, 2), bool)
    kept[::4, 1] = False
    words = linear.of(some, kept)
    assert sparse.issparse(words)
    facts = linear.of(some, kept, ["facts"])
    assert facts.shape[1] == 1 + len(("unknown", "north", "south", "west"))
    assert (facts[:, 1:].sum(axis=1) == 1).all()
    assert words[[0, 4], facts.shape[1] :].nnz == 0
    assert words[[1, 2], facts.shape[1] :].nnz > 0
    dense = trees.of(some, kept, ["note"])
    assert np.isnan(dense[[0, 4]]).all()
    assert np.isfinite(dense[[1, 2, 3]]).all()


def test_a_text_that_tells_the_class_scores_high_where_it_is_there(table):
    found = modality_scores(table(), bootstrap=0)
    for model in BASELINES:
        assert 0.8 < value(found, model=model, modalities="note", metric="auroc") < 1


def test_words_of_the_test_rows_are_not_in_the_vocabulary(table):
    notes = np.array([f"well case{i}" for i in range(ROWS)], dtype=object)
    strange = notes.copy()
    strange[TEST] = "unheard of words"
    some, kept = np.arange(3), np.ones((3, 2), bool)
    plain, other = (Features(table(note=n)).of(some, kept) for n in (notes, strange))
    assert plain.shape == other.shape
    assert (plain != other).nnz == 0


@pytest.mark.parametrize(
    "texts", [["good", "bad"], ["a b", "c"], ["", "!"], [" ".join(f"w{i}" for i in range(90)), "w"]]
)
def test_texts_of_any_vocabulary_make_features(texts):
    label = np.arange(40) % 2
    rows = {"text": [texts[k] + ("" if k else " ") for k in label], "x": np.arange(40.0)[:, None]}
    data = ArrayData(rows, label, on_duplicates="allow")
    scores = modality_scores(data, bootstrap=0)
    alone = scores[(scores["modalities"] == "text") & (scores["metric"] == "accuracy")]
    assert len(alone) == 2
    assert (alone["value"] >= 0.5).all()
