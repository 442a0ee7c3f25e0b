"""What these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
