"""Negatives of all processes: the mean of their gradients is that of one with all rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from contrastive_processes import (
    LOSSES,
    OBJECTIVES,
    ROWS,
    VALID,
    batch_of,
    loss_of,
    of_objective,
    rows,
)
from torch.nn import functional as F

from mmfuse import Batch
from mmfuse.objectives.contrastive import info_nce


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes found, meeting over gloo."""
    folder = tmp_path_factory.mktemp("processes")
    script = str(Path(__file__).with_name("contrastive_processes.py"))
    command = [sys.executable, script]
    started = [subprocess.Popen([*command, str(rank), str(folder)]) for rank in range(2)]
    try:
        assert [process.wait(timeout=120) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", range(len(VALID)), ids=str)
def test_two_processes_learn_what_one_with_all_rows_would(found, case, name):
    data = [rows(rank) for rank in range(2)]
    joined = {k: torch.cat([d[k] for d in data]) for k in data[0]}
    joined["columns"] = torch.cat([d["columns"] + ROWS * r for r, d in enumerate(data)])
    valid = torch.cat([torch.arange(ROWS) < n for n in VALID[case]])
    loss, gradients = loss_of(name, joined, valid)
    means = [
        torch.stack(both).mean(0)
        for both in zip(*(f[f"{case} {name}"] for f in found), strict=True)
    ]
    for ours, expected in zip(means, [loss, *gradients], strict=True):
        torch.testing.assert_close(ours, expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_process_whose_rows_all_lack_a_modality_keeps_nobody_waiting(found, objective):
    one, other = (batch_of(rank) for rank in range(2))
    index = torch.arange(2 * ROWS)
    joined = Batch(
        one.modalities,
        {m: torch.cat([one.inputs[m], other.inputs[m]]) for m in one.modalities},
        torch.cat([one.present, other.present]),
        torch.cat([one.target, other.target]),
        index,
    )
    means = [
        torch.stack(b).mean(0) for b in zip(*(f[objective.__name__] for f in found), strict=True)
    ]
    torch.testing.assert_close(means, of_objective(objective, joined))


def test_without_gradients_a_process_stays_with_its_own_rows(found):
    x, y = (F.normalize(rows(0)[side], dim=1) for side in "xy")
    torch.testing.assert_close(found[0]["evaluation"][0], info_nce(x, y, 5.0))
