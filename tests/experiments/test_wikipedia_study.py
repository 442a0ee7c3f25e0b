"""The study of retrieval on Wikipedia: its steps, with one draw and one seed, on the real rows."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "wikipedia"


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
def test_the_study_chooses_on_validation_rows_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    study = importlib.import_module("study")
    try:
        monkeypatch.setattr(study, "DRAWS", 1)
        monkeypatch.setattr(study, "SPLITS", (0,))
        monkeypatch.setattr(study, "SEEDS", range(2))
        monkeypatch.setattr(study, "METHODS", ("CLIP",))
        monkeypatch.setattr(study, "BASELINES", ("random order", "CCA"))
        monkeypatch.setattr(sys, "argv", ["study.py", "--out", str(tmp_path)])
        study.main()
        study.main()  # nothing is left to do
        search = pd.read_csv(tmp_path / "search.csv")
        test = pd.read_csv(tmp_path / "test.csv")
    finally:
        for name in ("study", "baselines"):
            sys.modules.pop(name)
    assert len(search) == 1
    assert test["method"].tolist() == ["CLIP", "CLIP", "random order", "CCA"]
    by_method = test.groupby("method")["image_to_text"].mean()
    assert by_method["CLIP"] > by_method["CCA"] - 0.05 > by_method["random order"]
    assert "| CLIP | 0." in (tmp_path / "table.md").read_text()
