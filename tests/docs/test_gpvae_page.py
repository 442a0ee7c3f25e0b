"""The page on the GPVAE: its configuration trains, its code and commands run as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmfuse.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "gpvae.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that are there after the page was followed to its end."""
    found: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("gpvae")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            if language == "yaml":
                config = yaml.safe_load(code)
                config["trainer"] |= {"max_epochs": 30, "enable_progress_bar": False}
                Path("config.yaml").write_text(yaml.safe_dump(config))
            elif language == "bash":
                for line in code.splitlines():
                    assert main(shlex.split(line)[1:]) == 0, line
            else:
                exec(compile(code, "gpvae.md", "exec"), found)
        (path,) = folder.rglob("predictions.parquet")
        found["frame"] = pd.read_parquet(path)
        scores = pd.concat(pd.read_csv(p) for p in folder.rglob("metrics.csv"))
        found["r2"] = scores["test/signal_r2_absent"].dropna()
    return found


def test_what_is_absent_is_inferred_and_what_is_private_stays_unknown(names):
    assert names["r2"].iloc[-1] > 0
    spread = names["latents"].variance_over_time.mean(dim=1)
    prior = names["model"].basis.spread(names["model"].prior).mean(dim=1)
    assert torch.allclose(spread[1, 1], prior[1], rtol=1e-3)
    assert torch.allclose(spread[2], prior, rtol=1e-3)
    assert spread[1, 0] < prior[0]
    assert names["series"]["spikes"].isfinite().all()


def test_predict_writes_each_latent_at_each_step(names):
    frame = names["frame"]
    assert list(frame)[:5] == ["row", "step", "shared_0", "spikes_0", "signal_0"]
    assert np.array_equal(np.unique(frame["step"]), np.arange(40))
    assert frame["shared_0_deviation"].gt(0).all()
