"""Six small pictures and sounds, and stand-ins for the encoders that read them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import ArrayData, FusionDataModule
from mmfuse.errors import DataError
from mmfuse.media import Sound
from mmfuse.tokens import Tokens

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), (200, 100, 50), (1, 2, 3)]


PART = ["train", "train", "train", "train", "val", "test"]


def picture(i: int) -> Image.Image:
    return Image.new("RGB", (4 + i, 5), COLOURS[i])


def png(i: int) -> bytes:
    content = io.BytesIO()
    picture(i).save(content, "PNG")
    return content.getvalue()


def sound(i: int, rate: int = 8000) -> Sound:
    samples = np.random.default_rng(i).uniform(-1, 1, (1, 20 + i)).astype(np.float32)
    return Sound(samples, rate)


def wav(i: int, rate: int = 8000) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound(i).samples.T, rate, format="WAV", subtype="FLOAT")
    return content.getvalue()


def files(folder: Path, make: Callable[[int], bytes], ending: str) -> list[str]:
    """Six files in a folder of their own, and their names from ``folder``."""
    (folder / "files").mkdir(exist_ok=True)
    names = [f"files/{i}.{ending}" for i in range(6)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(make(i))
    return names


def colours(pictures: list[Image.Image]) -> Tensor:
    """Each picture's width and its first pixel."""
    return torch.tensor([[float(p.width), *p.getpixel((0, 0))] for p in pictures])


def lengths(sounds: list[Sound]) -> Tokens:
    """Each sound's samples, padded."""
    longest = max(s.samples.shape[1] for s in sounds)
    values = torch.zeros(len(sounds), longest, 1)
    mask = torch.zeros(len(sounds), longest, dtype=torch.bool)
    for i, s in enumerate(sounds):
        values[i, : s.samples.shape[1], 0] = torch.from_numpy(s.samples[0])
        mask[i, : s.samples.shape[1]] = True
    return Tokens(values, mask)


def whole(data: FusionDataModule, rows: Any = range(6), **preprocess: Any) -> Batch:
    """The rows as one batch, through stand-ins of encoders."""
    data.attach(preprocess or {"x": colours})
    return data.dataset("train").__getitems__(list(rows))


def expected(absent: int | None = None) -> list[list[float]]:
    return [[0.0] * 4 if i == absent else [4.0 + i, *map(float, COLOURS[i])] for i in range(6)]


def with_gap(rows: list[Any], gap: Any = None) -> list[Any]:
    return [gap if i == 2 else row for i, row in enumerate(rows)]


def memory_pictures(folder: Path) -> dict[str, list[Any]]:
    names = files(folder, png, "png")
    return {
        "pictures": [picture(i) for i in range(6)],
        "bytes": [png(i) for i in range(6)],
        "paths": [folder / n for n in names],
        "strings": [str(folder / n) for n in names],
        "mixed": [picture(0), png(1), None, folder / names[3], str(folder / names[4]), png(5)],
    }


def saved(folder: Path, columns: dict[str, Any], **features: Any) -> str:
    made = datasets.Dataset.from_dict({**columns, "part": PART})
    for name, feature in features.items():
        made = made.cast_column(name, feature)
    made.save_to_disk(folder / "saved")
    return str(folder / "saved")


def broken() -> list[Any]:
    """Six pictures; row 1 is cut short, row 4 is no picture."""
    rows = [png(i) for i in range(6)]
    return [rows[0], rows[1][:40], rows[2], rows[3], b"no picture", rows[5]]


def make(rows: list[Any], **options: Any) -> ArrayData:
    return ArrayData({"x": rows}, kinds={"x": "image"}, split=PART, **options)


def refusing(pictures: list[Image.Image]) -> Tensor:
    """An encoder that refuses wide pictures, and whose result depends on the batch."""
    if max(p.width for p in pictures) > 7:
        raise DataError("A picture is too wide.")
    return colours(pictures) + len(pictures)
