"""The counter-based random numbers behind every simulator."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
from scipy import stats

from mmfuse.missing.hashing import key, mix, uniform

ROWS = torch.arange(200_000)


def test_the_mixer_gives_the_published_outputs_of_splitmix64():
    # The first outputs of splitmix64.c from state 0, whose state grows by this constant.
    step = torch.tensor(0x9E3779B97F4A7C15 - 2**64)
    found = mix(torch.arange(1, 4) * step).numpy().view(np.uint64)
    assert [hex(x) for x in found] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_numbers_are_the_same_as_in_every_release():
    found = uniform(7, torch.tensor([0, 1, 10**12]), "image", "epoch", 3)
    assert found.tolist() == [0.546900290880595, 0.6564620605520164, 0.15381184181997842]


def test_another_process_draws_the_same_numbers():
    code = (
        "import torch; from mmfuse.missing.hashing import uniform;"
        "print(uniform(3, torch.arange(2), 'sound').tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(uniform(3, torch.arange(2), "sound").tolist())


def test_numbers_are_uniform_over_rows_seeds_and_streams():
    seeds = torch.stack([uniform(s, torch.tensor([5]), "a") for s in range(5000)]).flatten()
    streams = torch.stack([uniform(0, torch.tensor([5]), "a", s) for s in range(5000)]).flatten()
    for numbers in (uniform(0, ROWS, "a"), uniform(1, ROWS * 1024, "a"), seeds, streams):
        assert numbers.min() >= 0
        assert numbers.max() < 1
        assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-3


def test_streams_seeds_and_neighbouring_rows_are_independent():
    base = uniform(0, ROWS, "a")
    others = [
        uniform(0, ROWS, "b"),
        uniform(1, ROWS, "a"),
        uniform(0, ROWS, "a", 0),
        uniform(0, ROWS + 1, "a"),
    ]
    for other in others:
        table = np.histogram2d(base.numpy(), other.numpy(), bins=10, range=[[0, 1], [0, 1]])[0]
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_words_of_a_stream_do_not_run_together():
    assert key(0, "ab", "c") != key(0, "a", "bc")
    assert key(1, "1") != key(1, 1)


def test_a_seed_may_be_any_whole_number():
    assert key(-1) != key(1)
    assert 0 <= uniform(2**80, torch.tensor([3])).item() < 1
