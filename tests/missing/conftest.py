"""Rows for the tests of simulators."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from mmfuse.missing import RowFacts

MODALITIES = ("image", "sound", "text")


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., RowFacts]:
    """Makes rows in order, of which a share is there; clusters of equal size, none for 0."""

    def make(
        rows: int = 20_000, natural: float = 1.0, seed: int = 0, clusters: int = 0
    ) -> RowFacts:
        generator = torch.Generator().manual_seed(seed)
        present = torch.rand(rows, 3, generator=generator) < natural
        value = torch.rand(rows, 3, generator=generator)
        return RowFacts(
            MODALITIES,
            torch.arange(rows),
            present,
            torch.randint(0, 4, (rows,), generator=generator),
            torch.where(present, value, 0.5),
            torch.arange(rows) % clusters if clusters else None,
        )

    return make


@pytest.fixture(scope="session")
def assert_share() -> Callable[..., None]:
    """Asserts that the share of True is within so many binomial standard errors of a rate."""

    def check(lost: torch.Tensor, rate: float, sigma: float = 3.0) -> None:
        error = math.sqrt(max(rate * (1 - rate), 1e-9) / lost.numel())
        assert abs(lost.double().mean().item() - rate) <= sigma * error

    return check
