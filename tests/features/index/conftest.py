"""What these tests share."""

from __future__ import annotations

import numpy as np
import pytest
from index_samples import stored


@pytest.fixture
def rows():
    source = np.random.default_rng(0)
    return [None if i % 6 == 1 else source.normal(size=4).tolist() for i in range(40)]


@pytest.fixture
def folder(rows, tmp_path):
    return stored(tmp_path / "f", {"a": rows})
