"""Raw values of every kind of input, what is known of them, and how far two of them are apart."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmfuse import ModalitySpec
from mmfuse.media import Sound, Video
from mmfuse.robustness.corruptions import Measured
from mmfuse.tokens import Tokens

WORDS = [
    *("the", "quick", "brown", "Fox", "jumps", "over", "a", "lazy"),
    *("dog", "while", "12", "small", "birds", "Sing", "about", "rain"),
]


class Frames(Video):
    """A video whose frames lie in memory."""

    def __init__(self, shown: np.ndarray) -> None:
        super().__init__(b"")
        self.shown = shown

    def frames(self, count: int) -> np.ndarray:
        return self.shown[:count]


@dataclass(frozen=True)
class Given:
    """Raw values of some rows, and what is known of the modality."""

    raw: Any
    measured: Measured


def natural(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Pictures with the spectrum of natural ones, from 0 to 1; the last two axes are the places."""
    waves = np.fft.fft2(random.normal(size=shape))
    frequency = np.hypot(np.fft.fftfreq(shape[-2])[:, None], np.fft.fftfreq(shape[-1])[None])
    found = np.fft.ifft2(waves / np.maximum(frequency, 0.02)).real
    found -= found.min(axis=(-2, -1), keepdims=True)
    return found / found.max(axis=(-2, -1), keepdims=True)


def _given() -> dict[str, Given]:
    random = np.random.default_rng(3)
    pixels = (natural(random, 24, 3, 30, 40) * 255).astype(np.uint8)
    pictures = [Image.fromarray(p.transpose(1, 2, 0)) for p in pixels]
    videos = [Frames(np.stack([np.asarray(p)] * 2)) for p in pictures[:12]]
    times = np.arange(4000) / 8000
    sounds = [
        Sound(
            np.stack(
                [np.exp(-4 * times) * np.sin(2 * np.pi * f * times + phase) for phase in (0, 1)]
            ).astype(np.float32)
            * np.float32(0.7),
            8000,
        )
        for f in random.uniform(100, 3500, 20)
    ]
    texts = [" ".join(random.choice(WORDS, 25)) for _ in range(40)]
    numbers = random.normal([0, 5, -3, 2], [1, 2, 0.5, 3], (300, 4))
    codes = random.integers(0, [5, 3], (300, 2))
    table = torch.tensor(np.concatenate([numbers, codes], axis=1)).float()
    mean, std = numbers.mean(0), numbers.std(0)
    steps = torch.tensor(random.normal(size=(60, 25, 3)).cumsum(1)).float()
    series_spec = ModalitySpec("series", (25, 3))
    about = tuple(steps.mean((0, 1)).tolist()), tuple(steps.flatten(0, 1).std(0).tolist())
    length = torch.tensor(random.integers(3, 26, 60))
    mask = torch.arange(25) < length[:, None]
    return {
        "image": Given(pictures, Measured(ModalitySpec("image"))),
        "array": Given(
            torch.tensor(natural(random, 24, 2, 17, 23) * 12 - 3).float(),
            Measured(ModalitySpec("image", (2, 17, 23)), valid=(-3.0, 9.0)),
        ),
        "video": Given(videos, Measured(ModalitySpec("video"))),
        "audio": Given(sounds, Measured(ModalitySpec("audio", rate=8000))),
        "text": Given(texts, Measured(ModalitySpec("text"))),
        "table": Given(
            table,
            Measured(ModalitySpec("table", (6,), categories=(5, 3)), tuple(mean), tuple(std)),
        ),
        "vector": Given(
            table[:, :4], Measured(ModalitySpec("vector", (4,)), tuple(mean), tuple(std))
        ),
        "series": Given(steps, Measured(series_spec, *about)),
        "tokens": Given(Tokens(steps, mask), Measured(ModalitySpec("tokens", (None, 3)), *about)),
    }


GIVEN = _given()


@pytest.fixture(scope="session")
def given() -> dict[str, Given]:
    return GIVEN


def plain(raw: Any) -> list[Any]:
    """Each row as an array or a string."""
    if isinstance(raw, Tokens):
        return [v[m].numpy() for v, m in zip(raw.values, raw.mask, strict=True)]
    if isinstance(raw, torch.Tensor):
        return [v.numpy() for v in raw]
    return [
        v.samples
        if isinstance(v, Sound)
        else v.frames(2)
        if isinstance(v, Video)
        else np.asarray(v)
        if isinstance(v, Image.Image)
        else v
        for v in raw
    ]


def apart(one: Any, other: Any) -> float:
    """How far two rows' values are apart."""
    if isinstance(one, str):
        return 1 - difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()
    if one.shape != other.shape:  # a sound of another speed
        return abs(float(np.log(one.shape[1] / other.shape[1])))
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Any], list[Any]]:
    return plain


@pytest.fixture(scope="session")
def distortion() -> Callable[[Any, Any], float]:
    def mean(raw: Any, changed: Any) -> float:
        return float(
            np.mean([apart(a, b) for a, b in zip(plain(raw), plain(changed), strict=True)])
        )

    return mean
