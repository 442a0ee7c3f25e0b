"""ESC-10's clips, heard as MFCC and seen as pictures of their spectrogram, whole or the start."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from setting import Rows, Setting
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC

from mmfuse import CatalogueData
from mmfuse.files import replacing
from mmfuse.media import Sound
from mmfuse_encoders.audio import LogMel
from mmfuse_encoders.waveform import Waveforms

sys.path.insert(0, str(Path(__file__).parents[1] / "esc10"))
from folds import FOLDS

RATE, BANDS, COLUMN, COLUMNS, FIRST = 22_050, 16, 0.25, 20, 4
_FRAMES = 20  # of a column of pixels
_FLOOR = 80.0  # decibels below the loudest pixel, drawn black


def picture(sound: Sound) -> np.ndarray:
    """The log-mel spectrogram of the first five seconds as grey pixels, low bands first.

    16 bands up to 11 kHz and 20 columns of 250 ms, the mean power of 20 frames each; in decibels,
    of which the loudest pixel is 1, and what lies 80 or more below it -1, as silence does that
    fills a shorter clip.

    Shape:
        (1, 16, 20) float32
    """
    start = Sound(sound.samples[:, : round(sound.rate * COLUMNS * COLUMN)], sound.rate)
    samples = Waveforms(RATE, COLUMNS * COLUMN)([start])
    frames = LogMel(RATE, BANDS, 0.046, COLUMN / _FRAMES)(samples).values[0].exp().numpy()
    kept = np.zeros((COLUMNS * _FRAMES, BANDS))
    kept[: len(frames)] = frames[: len(kept)]
    power = kept.reshape(COLUMNS, _FRAMES, BANDS).mean(axis=1).T
    decibels = 10 * np.log10(np.maximum(power / power.max(), 1e-30))
    return (np.maximum(decibels, -_FLOOR) * 2 / _FLOOR + 1).astype(np.float32)[None]


def timbre(sound: Sound) -> np.ndarray:
    """Mean and deviation over all the clip of 20 MFCC up to 22 kHz and of their differences.

    Shape:
        (80,) float32
    """
    settings = {"n_fft": 2048, "hop_length": 512, "n_mels": 64}
    found = MFCC(sound.rate, n_mfcc=20, melkwargs=settings)(torch.from_numpy(sound.samples[0]))
    steps = torch.cat([found, compute_deltas(found)])
    return torch.cat([steps.mean(dim=1), steps.std(dim=1)]).numpy()


def views(file: Path) -> dict[str, np.ndarray]:
    """What is heard and seen of every clip, from a file that is made once."""
    if not file.exists():
        column = CatalogueData(FOLDS[5]).dataset("train").columns["sound"]
        sounds = [column.read(i) for i in range(len(column.present))]
        made = {
            "sound": np.stack([timbre(s) for s in sounds]),
            "picture": np.stack([picture(s) for s in sounds]),
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part, part.open("wb") as stream:
            np.savez(stream, **made)
    with np.load(file) as kept:
        found = dict(kept)
    return found | {"first second": found["picture"][..., :FIRST]}


class Clips:
    """The clips with their official folds.

    Args:
        scratch: where what is heard and seen is kept.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._views: Mapping[str, np.ndarray] = {}

    def rows(self, fold: int, seed: int) -> Rows:
        """The fold tests; of the others whole recordings, a fifth of the rows, validate."""
        self._views = self._views or views(self.scratch / "esc10/views.npz")
        data = CatalogueData(FOLDS[fold]).reseeded(seed)
        label = data.dataset("train").targets["class"].numpy()
        split = np.full(len(label), "", dtype=object)  # a double has left the earlier part
        for name in ("train", "val", "test"):
            split[data.rows(name).numpy()] = name  # type: ignore[arg-type]
        return Rows(self._views, label, split)


_PIXELS = {
    "class_path": "ImageCNNEncoder",
    "init_args": {"hidden": 8, "layers": 4, "out_dim": 64, "dropout": 0.2},
}


def setting(scratch: Path) -> Setting:
    """Students of the picture and of its first second; teachers hear all of the clip."""
    return Setting(
        name="esc10",
        unit="test",
        tests=tuple(FOLDS),
        seeds=(0, 1),
        searched=(0,),
        pairs={"picture": "sound", "first second": "sound"},
        encoders={
            "sound": {
                "class_path": "MLPEncoder",
                "init_args": {"hidden": [128], "out_dim": 64, "dropout": 0.5},
            },
            "picture": _PIXELS,
            "first second": _PIXELS,
        },
        epochs=40,
        co_training=20,
        specialisation=5,
        rate=3e-3,
        decay=1.0,
        batch=32,
        rows=Clips(scratch).rows,
    )
