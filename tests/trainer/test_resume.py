"""A killed run goes on as if nothing had happened."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed_run import EPOCHS, STEPS_AN_EPOCH, run

NEVER = -1


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(str(tmp_path_factory.mktemp("whole")), NEVER, every=1).state_dict()


@pytest.mark.parametrize("every", [1, 3], ids=["in the middle of an epoch", "steps before"])
def test_a_run_killed_at_a_random_step_ends_with_the_same_weights(tmp_path, every, uninterrupted):
    step = random.randint(every + 1, STEPS_AN_EPOCH * EPOCHS - 1)
    script = str(Path(__file__).with_name("killed_run.py"))
    command = [sys.executable, script, str(tmp_path), str(step), str(every)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    resumed = run(str(tmp_path), NEVER, every, ckpt_path="last").state_dict()

    assert resumed.keys() == uninterrupted.keys()
    for name, value in uninterrupted.items():
        assert torch.equal(resumed[name], value), f"{name} differs after a kill at step {step}"
