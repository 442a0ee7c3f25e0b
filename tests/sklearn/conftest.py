"""Digits cut into four quadrants: a multimodal data set that scikit-learn ships."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from sklearn.datasets import load_digits

QUADRANTS = {
    "top_left": np.s_[:, :4, :4],
    "top_right": np.s_[:, :4, 4:],
    "bottom_left": np.s_[:, 4:, :4],
    "bottom_right": np.s_[:, 4:, 4:],
}


@functools.cache
def _digits():
    digits = load_digits()
    images = digits.images.astype(np.float32)
    return {m: images[cut].reshape(len(images), 16) for m, cut in QUADRANTS.items()}, digits.target


@pytest.fixture
def digits():
    """600 rows, a fresh copy: ``(quadrants, labels)``."""
    quadrants, labels = _digits()
    return {m: rows[:600].copy() for m, rows in quadrants.items()}, labels[:600].copy()


@pytest.fixture
def two_modalities():
    """Two modalities that tell a binary label together, 120 rows: ``(X, labels)``."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(120, 3)), draw.normal(size=(120, 2))
    return {"a": a, "b": b}, (a[:, 0] + b[:, 0] > 0).astype(int)


@pytest.fixture
def quick():
    """Arguments of an estimator that trains in a moment."""
    return {"max_epochs": 3, "learning_rate": 1e-2, "accelerator": "cpu", "random_state": 0}
