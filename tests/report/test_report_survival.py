"""The report of a survival target: curves by predicted risk on the page and as a picture."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion, SequentialFusion
from mmfuse.missing import RowFacts
from mmfuse.robustness import RobustnessResult, evaluate
from mmfuse.robustness.report import write_report
from mmfuse.robustness.report.study import risk_groups
from mmfuse_encoders import MLPEncoder

ROWS = 40


def result_of(fusion, target) -> RobustnessResult:
    """What a random model does on random rows, of which some have no outcome."""
    torch.manual_seed(0)
    modalities = ("left", "right")
    spec = DataSpec({m: ModalitySpec.of(3) for m in modalities}, {"os": target})
    encoders = {m: MLPEncoder(3, out_dim=4) for m in modalities}
    model = FusionModel(spec, encoders, fusion(dict.fromkeys(modalities, 4), out_dim=4))
    outcome = torch.stack([torch.rand(ROWS) * 10, (torch.rand(ROWS) < 0.6).float()], dim=1)
    outcome[:4] = torch.nan
    present = torch.ones(ROWS, 2, dtype=torch.bool)
    inputs = {m: torch.randn(ROWS, 3) for m in modalities}
    rows = Batch(modalities, inputs, present, {"os": outcome}, torch.arange(ROWS))
    facts = RowFacts(
        modalities, rows.index, present, outcome[:, 1].nan_to_num(-1).long(), torch.rand(ROWS, 2)
    )
    return evaluate(model, [rows], facts, bootstrap=20)


@pytest.fixture(scope="module", params=[(2.0, 5.0, 10.0), ()], ids=["hazards", "cox"])
def result(request):
    return result_of(SequentialFusion, TargetSpec("survival", cuts=request.param))


def test_groups_part_at_the_median_of_the_rows_with_an_outcome(result):
    groups = risk_groups(result)
    assert groups["group"].value_counts().to_dict() == {0: 18, 1: 18}
    lines = result.predictions[result.predictions["condition"] == "complete"].dropna(subset="label")
    higher = lines["prediction"] > lines["prediction"].median()
    np.testing.assert_array_equal(groups["group"], higher.astype(int))
    np.testing.assert_array_equal(groups["time"], lines["label"])


def test_groups_part_at_the_training_rows_median_where_it_is_known(result):
    known = replace(result, meta=result.meta | {"risk_thresholds": {"os": [1e9]}})
    assert (risk_groups(known)["group"] == 0).all()


def test_the_report_draws_the_curves(result, tmp_path):
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "survival.png").stat().st_size > 10_000
    section = page[page.index("Survival by predicted risk") :]
    section = section[: section.index("</section>")]
    assert "median risk of these rows" in section
    assert "log-rank p = " in section
    figure = json.loads(
        re.search(r'<script type="application/json">(.*?)</script>', section, re.DOTALL)[1]
    )
    assert [t["name"] for t in figure["data"]] == ["lower risk (18 rows)", "higher risk (18 rows)"]
    assert "C-index" in page


def test_several_models_stand_side_by_side(tmp_path):
    target = TargetSpec("survival", cuts=(2.0, 5.0))
    results = {f.__name__: result_of(f, target) for f in (SequentialFusion, ConcatFusion)}
    page = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert "ConcatFusion, higher risk" in page
    assert (tmp_path / "survival.png").is_file()


def test_a_result_without_complete_data_has_no_curves(result, tmp_path):
    table = result.predictions
    partial = replace(result, predictions=table[table["condition"] != "complete"])
    page = write_report(partial, tmp_path).read_text(encoding="utf-8")
    assert "Survival by predicted risk" not in page
    assert not (tmp_path / "survival.png").exists()
