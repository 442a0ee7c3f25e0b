"""Data over two modalities with gaps, for extraction."""

from __future__ import annotations

import time

import numpy as np
import torch

from mmfuse import ArrayData, Encoder, Tokens
from mmfuse_encoders import GRUEncoder, MLPEncoder

ROWS = 53


def small_data(**options) -> ArrayData:
    """Vectors and series, some absent, with a target of three classes."""
    source = np.random.default_rng(0)
    inputs = {
        "a": [None if i % 5 == 0 else source.normal(size=3) for i in range(ROWS)],
        "s": [None if i % 7 == 0 else source.normal(size=(2 + i % 4, 2)) for i in range(ROWS)],
    }
    return ArrayData(inputs, [f"class {i % 3}" for i in range(ROWS)], **options)


class SlowEncoder(MLPEncoder):
    """Takes a few milliseconds a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor | Tokens:
        """Waits, then encodes."""
        time.sleep(0.004)
        return super().forward(x)


class SeededGRU(Encoder):
    """A frozen recurrent encoder whose weights are always the same, as loaded ones are."""

    kinds = frozenset({"series"})

    def __init__(self, spec, out_dim=6, tokens=False, seed=0, frozen=True):
        super().__init__(spec, out_dim, frozen)
        self.tokens = tokens
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.inner = GRUEncoder(self.spec, out_dim, tokens=tokens)

    def forward(self, x):
        return self.inner(x)
