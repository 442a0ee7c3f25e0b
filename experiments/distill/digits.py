"""Spoken and written digits: MFCC and pixels; a speaker tests whom no model has heard."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path

import numpy as np
from setting import Rows, Setting

from mmfuse import CatalogueData

sys.path.insert(0, str(Path(__file__).parents[1] / "av_digits"))
from baseline import features


class Digits:
    """The recordings with images drawn for them; the recordings of theo test."""

    @cached_property
    def base(self) -> CatalogueData:
        """The set."""
        return CatalogueData("av_digits_speakers")

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """MFCC and pixels, as the set's own study reads them."""
        return {m: np.asarray(x, np.float32) for m, x in features(self.base).items()}

    def rows(self, test: str, seed: int) -> Rows:
        """The seed draws the speaker who validates."""
        drawn = self.base.reseeded(seed)
        label = drawn.dataset("train").targets["digit"].numpy()
        split = np.full(len(label), "train", dtype=object)
        for name in ("val", "test"):
            split[drawn.rows(name).numpy()] = name  # type: ignore[arg-type]
        return Rows(self.inputs, label, split)


_MLP = {
    "class_path": "MLPEncoder",
    "init_args": {"hidden": [128], "out_dim": 64, "dropout": 0.2},
}


def setting() -> Setting:
    """A student of the sound, and one of the image, each taught by both."""
    return Setting(
        name="av_digits",
        unit="seed",
        tests=("theo",),
        seeds=(0, 1, 2, 3, 4),
        searched=(0, 1, 2),
        pairs={"sound": "image", "image": "sound"},
        encoders={"sound": _MLP, "image": _MLP},
        epochs=15,
        co_training=5,
        specialisation=3,
        rate=1e-3,
        decay=0.01,
        batch=64,
        rows=Digits().rows,
    )
