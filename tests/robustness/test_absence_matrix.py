"""Models trained with one absence, tested under another."""

from __future__ import annotations

import pandas as pd
import pytest

from mmfuse import checkpoint
from mmfuse.errors import ConfigError, MissingFileError
from mmfuse.fusion import ConcatFusion, SequentialFusion
from mmfuse.missing import MCAR, LabelMNAR, ModalityDropout
from mmfuse.robustness import (
    AbsenceMatrix,
    Condition,
    absence_matrix,
    complete,
    evaluate,
    models_by_training,
)
from mmfuse.robustness.matrix import COLUMNS

CONDITIONS = [complete(), Condition("mcar 0.5", "mcar", 0.5, MCAR(0.5))]


@pytest.fixture
def models(make_model):
    return {"none": make_model(SequentialFusion), "MCAR(0.3)": make_model(ConcatFusion)}


@pytest.fixture
def matrix(models, batches, facts) -> AbsenceMatrix:
    return absence_matrix(models, batches, facts, CONDITIONS, bootstrap=10)


def test_each_model_has_the_lines_of_its_own_evaluation(matrix, models, batches, facts):
    assert tuple(matrix.table) == COLUMNS
    for name, model in models.items():
        alone = evaluate(model, batches, facts, CONDITIONS, bootstrap=10, importance=False)
        lines = matrix.table[matrix.table["trained_with"] == name].reset_index(drop=True)
        shared = list(COLUMNS[1:])
        pd.testing.assert_frame_equal(lines[shared], alone.conditions[shared])
    assert matrix.meta["models"] == list(models)


def test_the_wide_table_has_a_line_a_model_and_a_column_a_condition(matrix):
    wide = matrix.wide("kind")
    assert list(wide) == ["trained_with", "complete", "mcar 0.5"]
    assert wide["trained_with"].tolist() == ["none", "MCAR(0.3)"]
    line = matrix.table.query("trained_with == 'none' and target == 'kind' and metric == 'ece'")
    assert matrix.wide("kind", "ece")["mcar 0.5"][0] == line["value"].iloc[1]
    with pytest.raises(ConfigError, match="no 'r2' of 'kind'"):
        matrix.wide("kind", "r2")


def test_a_matrix_survives_its_folder(matrix, tmp_path):
    again = AbsenceMatrix.load(matrix.save(tmp_path / "matrix"))
    pd.testing.assert_frame_equal(again.table, matrix.table)
    assert again.meta == matrix.meta
    with pytest.raises(MissingFileError, match="absence matrix"):
        AbsenceMatrix.load(tmp_path)


def test_without_conditions_the_standard_ones_are_taken(models, batches, facts):
    calls = []
    found = absence_matrix(
        models, batches, facts, bootstrap=0, progress=lambda name, done: calls.append((name, done))
    )
    assert found.table["condition"].nunique() > 20
    assert calls == [(name, done) for name in models for done in (1, 2, 3)]


def test_what_cannot_make_a_matrix_is_refused(models, batches, facts):
    with pytest.raises(ConfigError, match="at least one model"):
        absence_matrix({}, batches, facts)
    with pytest.raises(ConfigError, match="only once"):
        absence_matrix(models, iter(batches), facts)


def test_checkpoints_are_named_by_the_absence_of_their_training(make_model, tmp_path):
    told = [
        (None, None),
        (MCAR(0.3), None),
        (None, ModalityDropout(0.5)),
        (LabelMNAR(0.8), ModalityDropout(0.5)),
        (MCAR(0.3), None),
    ]
    paths = []
    for i, (missing, dropout) in enumerate(told):
        model = make_model(ConcatFusion)
        content = checkpoint.whole(model)
        content["mmfuse"] = checkpoint.describe_run(
            model, missing=missing, modality_dropout=dropout
        )
        paths.append(checkpoint.write(content, tmp_path / f"{i}.ckpt"))
    assert list(models_by_training(paths)) == [
        "none",
        "MCAR(rate=0.3)",
        "ModalityDropout(rate=0.5)",
        "LabelMNAR(rate=0.8) and ModalityDropout(rate=0.5)",
        "MCAR(rate=0.3), 2",
    ]
    with pytest.raises(MissingFileError):
        models_by_training([tmp_path / "none.ckpt"])
