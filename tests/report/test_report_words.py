from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness import RobustnessResult
from mmfuse.robustness.report import words
from mmfuse.robustness.report.study import gather


def with_scores(result: RobustnessResult, **scores: float) -> RobustnessResult:
    """The result with other values of 'kind', by family."""
    table = result.conditions.copy()
    for family, value in scores.items():
        chosen = (table["family"] == family) & (table["target"] == "kind")
        table.loc[chosen, "value"] = value
    return dataclasses.replace(result, conditions=table)


def test_the_summary_says_the_complete_score_with_its_interval(sequential: RobustnessResult):
    line = sequential.main("kind").iloc[0]
    said = words.summary(gather(sequential), "kind", "SequentialFusion")
    assert said[0] == (
        f"Complete data: accuracy {line['value']:.3f} [{line['low']:.3f}, {line['high']:.3f}] "
        "on 40 rows."
    )


def test_the_summary_names_the_costliest_modality(sequential: RobustnessResult):
    table = sequential.importance.copy()
    table["leave_one_out"] = [0.1 if m == "left" else 0.25 for m in table["modality"]]
    study = gather(dataclasses.replace(sequential, importance=table))
    assert "Losing 'right' costs the most (-0.250)." in words.summary(
        study, "kind", "SequentialFusion"
    )


def test_a_model_that_needs_no_modality_is_said_to_need_none(sequential: RobustnessResult):
    table = sequential.importance.assign(leave_one_out=-0.1)
    study = gather(dataclasses.replace(sequential, importance=table))
    assert "Losing any one modality does not lower the score." in words.summary(
        study, "kind", "SequentialFusion"
    )


@pytest.mark.parametrize(
    ("flipped", "said"),
    [(0.6, "it falls by 0.300"), (0.95, "it rises by 0.050"), (0.9, "it does not change")],
)
def test_a_flip_falls_rises_or_changes_nothing(
    sequential: RobustnessResult, flipped: float, said: str
):
    study = gather(with_scores(sequential, mnar=0.9, mnar_flipped=flipped))
    text = " ".join(words.summary(study, "kind", "SequentialFusion"))
    assert said in text.split("follows the lost value")[0]


def test_models_are_ranked_highest_first(
    sequential: RobustnessResult, concatenated: RobustnessResult
):
    study = gather(
        {
            "one": with_scores(sequential, complete=0.7),
            "two": with_scores(concatenated, complete=0.8),
        }
    )
    assert words.comparison(study, "kind")[0] == (
        "Highest first, on complete data: two 0.800, one 0.700."
    )


def test_training_reads_as_words(sequential: RobustnessResult):
    assert words.training(sequential.meta) == "dropout: rate 0.3; order: left, right"
    assert words.training({"trained_with": {}}) == "not recorded"


def test_a_study_without_results_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        gather({})


def test_baselines_that_lack_a_column_are_refused(sequential: RobustnessResult):
    with pytest.raises(DataError, match="'low'"):
        gather(
            sequential, pd.DataFrame(columns=["model", "modalities", "target", "metric", "value"])
        )
