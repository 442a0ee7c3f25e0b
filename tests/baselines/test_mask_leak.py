"""The leak check: masks that depend on the label score above chance, those of chance do not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from mmfuse import ArrayData, TargetSpec
from mmfuse.baselines import LINEAR, MASK_MODELS, PATTERNS, mask_leak, mask_leaks
from mmfuse.baselines.mask_models import fit_mask
from mmfuse.baselines.models import fit_baseline
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.missing import MAR, MCAR, BlockMCAR, ClusterMCAR, FixedPattern, LabelMNAR
from mmfuse.robustness import Condition
from mmfuse.robustness.leak_result import LEVEL

BINARY = TargetSpec("binary")


def data_of(rows: int = 600, groups: np.ndarray | None = None, **options) -> ArrayData:
    draw = np.random.default_rng(1)
    values = {m: draw.normal(size=(rows, 2)) for m in ("image", "sound", "text")}
    label = draw.integers(0, 2, rows)
    return ArrayData(values, label, groups=groups, val=0, test=0.2, seed=1, **options)


def own(name: str, missing) -> Condition:
    return Condition(name, name, 0.5, missing)


def test_masks_of_chance_score_at_chance_and_those_of_the_label_above():
    conditions = [
        own("mcar", MCAR(0.5)),
        own("block", BlockMCAR(0.5, correlation=0.5)),
        own("mar", MAR(0.5, "sound")),
        own("mnar", LabelMNAR(0.6, 0.2)),
        own("flipped", LabelMNAR(0.6, 0.2).flipped()),
    ]
    found = mask_leaks(data_of(), conditions, permutations=39, bootstrap=0)
    assert len(found) == 5 * len(MASK_MODELS)
    for line in found.itertuples():
        is_told = line.condition in ("mnar", "flipped")
        assert line.leaks == is_told, line
        if not is_told:
            # Somewhat below more often than above: each fold's rest leans the other way.
            assert 0.4 < line.value < 0.57
    told = found[found["condition"] == "mnar"].set_index("model")
    # One bit of the count of absent ones: P(more absent | y) makes an area of some 0.8.
    assert (told["value"] > 0.7).all()
    assert told["realised_rate"].iloc[0] == pytest.approx(0.38, abs=0.05)


def test_the_score_is_that_of_rows_held_out():
    found = []
    for seed in range(5):
        draw = np.random.default_rng(seed)
        label = draw.integers(0, 2, 300)
        present = draw.random((300, 9)) < 0.5  # 512 patterns: to know them all is to know the rows
        leak = mask_leak(present, label, BINARY, models=[PATTERNS], permutations=0, bootstrap=0)
        found.append(leak["value"].item())
    assert 0.4 < np.mean(found) < 0.6


def test_the_table_of_patterns_sees_who_is_absent_together_where_the_linear_model_does_not():
    draw = np.random.default_rng(0)
    present = draw.random((800, 2)) < 0.5
    label = (present[:, 0] ^ present[:, 1]).astype(int)
    found = mask_leak(present, label, BINARY, permutations=39, bootstrap=0).set_index("model")
    assert found.loc[PATTERNS, "value"] == pytest.approx(1.0)
    assert found.loc[PATTERNS, "leaks"]
    assert found.loc[LINEAR, "value"] < 0.65


def test_a_perfect_leak_is_the_area_that_scikit_learn_gives():
    draw = np.random.default_rng(2)
    label = draw.integers(0, 2, 400)
    present = np.stack([draw.random(400) < 0.3 + 0.4 * label, draw.random(400) < 0.5], axis=1)
    found = mask_leak(present, label, BINARY, models=[LINEAR], permutations=0, bootstrap=0)
    best = roc_auc_score(label, present[:, 0])
    assert found["value"].item() == pytest.approx(best, abs=0.05)
    assert math.isnan(found["low"].item())
    assert math.isnan(found["p"].item())
    assert not found["leaks"].item()


@pytest.mark.parametrize(
    ("spec", "metric"),
    [
        (TargetSpec("multiclass", classes=("a", "b", "c")), "auroc"),
        (TargetSpec("multilabel", classes=("old", "new")), "auroc"),
        (TargetSpec("regression", mean=(0.0,), std=(1.0,)), "r2"),
        (TargetSpec("survival", cuts=(1.0, 2.0)), "c_index"),
    ],
    ids=lambda x: getattr(x, "kind", x),
)
def test_every_kind_of_target_has_its_score(spec, metric):
    draw = np.random.default_rng(0)
    told = draw.integers(0, 3, 240)
    noise = draw.random((240, 2)) < 0.5
    present = np.stack([told > 0, told > 1, *noise.T], axis=1)
    label = {
        "multiclass": told,
        "multilabel": np.stack([told > 0, told > 1], axis=1).astype(np.float32),
        "regression": told + 0.1 * draw.normal(size=240),
        "survival": np.stack([3.0 - told + 0.1 * draw.random(240), draw.random(240) < 0.8], axis=1),
    }[spec.kind]
    found = mask_leak(present, label, spec, permutations=39, bootstrap=50)
    assert set(found["metric"]) == {metric}
    assert (found["value"] > found["chance"] + 0.25).all()
    assert found["leaks"].all()
    assert (found["p"] == 1 / 40).all()
    nothing = mask_leak(noise, label, spec, models=[PATTERNS], permutations=39, bootstrap=0)
    assert not nothing["leaks"].item()
    assert nothing["value"].item() < nothing["chance"].item() + 0.12


def test_rows_without_a_label_are_left_out():
    label = np.arange(100) % 2
    label[::5] = -1
    found = mask_leak(np.ones((100, 2), bool), label, BINARY, permutations=39, bootstrap=0)
    assert set(found["rows"]) == {80}
    assert set(found["p"]) == {1.0}  # masks that are alike tell nothing


def test_a_class_of_one_row_is_scored_all_the_same():
    label = np.r_[np.zeros(30, int), np.ones(29, int), 2]
    spec = TargetSpec("multiclass", classes=("a", "b", "c"))
    present = np.random.default_rng(0).random((60, 3)) < 0.5
    found = mask_leak(present, label, spec, permutations=9, bootstrap=0)
    assert np.isfinite(found[["value", "p"]]).all(axis=None)


def test_groups_stay_in_one_fold_so_that_their_masks_do_not_name_them():
    groups = np.repeat(np.arange(20), 30)
    draw = np.random.default_rng(3)
    label = (draw.random(20) < 0.5).astype(int)[groups]  # as a speaker's sex is
    present = (draw.random((20, 8)) < 0.5)[groups]
    options = {"models": [PATTERNS], "permutations": 99, "bootstrap": 0}
    apart = mask_leak(present, label, BINARY, groups=groups, **options)
    mixed = mask_leak(present, label, BINARY, **options)
    assert mixed["value"].item() > 0.95
    assert mixed["leaks"].item()
    assert apart["value"].item() < 0.8
    assert not apart["leaks"].item()
    data = data_of(groups=groups)
    found = mask_leaks(
        data, [own("cluster", ClusterMCAR(0.5))], folds=3, permutations=9, bootstrap=0
    )
    assert len(found) == len(MASK_MODELS)


def chances(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Masks that do not depend on the label: by rows, or by groups that have their own of both."""
    draw = np.random.default_rng(seed)
    if kind == "rows":
        return draw.random((200, 3)) < 0.6, draw.integers(0, 2, 200), None
    size = np.maximum(draw.geometric(0.1, 20), 2)
    groups = np.repeat(np.arange(20), size)
    label = draw.random(len(groups)) < np.where(draw.random(20) < 0.5, 0.2, 0.8)[groups]
    present = draw.random((len(groups), 3)) < draw.beta(0.7, 0.7, (20, 3))[groups]
    return present, label.astype(int), groups


def false_alarms(kind: str, model: str, sets: int = 200) -> int:
    found = 0
    for seed in range(sets):
        present, label, groups = chances(kind, seed)
        found += mask_leak(
            present, label, BINARY, models=[model], folds=3, groups=groups, permutations=39,
            bootstrap=0, seed=seed,
        )["leaks"].item()  # fmt: skip
    return found


@pytest.mark.parametrize("kind", ["rows", "unequal groups"])
@pytest.mark.parametrize("model", [PATTERNS, pytest.param(LINEAR, marks=pytest.mark.slow)])
def test_masks_of_chance_are_called_leaking_once_in_forty(kind: str, model: str):
    # Of 200 sets five are expected; more than twelve have a chance of one in 500.
    assert false_alarms(kind, model) <= binom.ppf(0.998, 200, LEVEL)


def test_a_leak_of_groups_is_found_among_them():
    draw = np.random.default_rng(5)
    groups = np.repeat(np.arange(30), 8)
    site = draw.random(30) < 0.5  # a site that lacks the first modality has other patients
    label = (draw.random(240) < np.where(site, 0.75, 0.25)[groups]).astype(int)
    present = np.stack([~site[groups], draw.random(240) < 0.5], axis=1)
    found = mask_leak(present, label, BINARY, groups=groups, permutations=99, bootstrap=0)
    assert found["leaks"].all()


def test_a_leak_that_is_small_is_found_in_many_rows():
    draw = np.random.default_rng(6)
    label = draw.integers(0, 3, 3000)
    present = draw.random((3000, 4)) < np.where(label == 2, 0.42, 0.5)[:, None]
    spec = TargetSpec("multiclass", classes=("a", "b", "c"))
    found = mask_leak(present, label, spec, models=[LINEAR], permutations=39, bootstrap=0)
    assert found["leaks"].item()
    assert found["value"].item() < 0.6


def test_the_linear_model_of_patterns_is_that_of_rows():
    draw = np.random.default_rng(7)
    present = (draw.random((300, 3)) < 0.5).astype(float)
    patterns, code = np.unique(present, axis=0, return_inverse=True)
    label = draw.integers(0, 3, 300) + (present[:, 0] > 0)
    spec = TargetSpec("multiclass", classes=("a", "b", "c", "d"))
    told = fit_mask(LINEAR, spec, patterns, code.reshape(-1), label)[code.reshape(-1)]
    plain = fit_baseline(LINEAR, spec, present, label)(present)
    np.testing.assert_allclose(told, plain, atol=1e-3)
    value = label + draw.normal(size=300)
    spec = TargetSpec("regression", mean=(0.0,), std=(1.0,))
    told = fit_mask(LINEAR, spec, patterns, code.reshape(-1), value)[code.reshape(-1)]
    np.testing.assert_allclose(told, fit_baseline(LINEAR, spec, present, value)(present), atol=1e-9)


def test_masks_that_are_alike_in_every_row_have_no_line():
    found = mask_leaks(data_of(), [own("only text", FixedPattern(["text"]))])
    assert found.empty
    assert "leaks" in found
    assert mask_leaks(data_of()).empty  # the data have no gaps


def test_the_data_s_own_gaps_are_checked():
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, 200)
    image = [None if y and draw.random() < 0.7 else [float(y)] for y in label]
    data = ArrayData({"image": image, "sound": draw.normal(size=(200, 1))}, label, val=0)
    calls: list[str] = []
    found = mask_leaks(data, permutations=39, bootstrap=100, progress=calls.append)
    assert calls == ["complete"]
    assert found["leaks"].all()
    assert isinstance(found, pd.DataFrame)


def test_what_cannot_be_checked_is_refused():
    label = np.arange(20) % 2
    present = np.ones((20, 2), bool)
    with pytest.raises(ConfigError, match="folds is 1"):
        mask_leak(present, label, BINARY, folds=1)
    with pytest.raises(ConfigError, match="permutations is -1"):
        mask_leak(present, label, BINARY, permutations=-1)
    with pytest.raises(ConfigError, match="known are"):
        mask_leak(present, label, BINARY, models=["forest"])
    with pytest.raises(DataError, match="20 rows of masks and 19"):
        mask_leak(present, label[1:], BINARY)
    with pytest.raises(DataError, match="9 labelled rows are too few for 5 folds"):
        mask_leak(present[:9], label[:9], BINARY)
    with pytest.raises(DataError, match="4 groups are too few"):
        mask_leak(present, label, BINARY, groups=np.arange(20) % 4)
    with pytest.raises(ConfigError, match="split is 'all'"):
        mask_leaks(data_of(), split="all")
    with pytest.raises(UnknownModalityError):
        mask_leaks(data_of(), [own("x", MCAR({"smell": 0.5}))])
