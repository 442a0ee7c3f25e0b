"""What a raw input looks like on a page: a small picture, a curve, or words."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmfuse.data.columns import Column
from mmfuse.errors import DataError
from mmfuse.media import Sound, Video
from mmfuse.robustness.report.looks import COLOURS
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens

_SIDE = 96  # pixels of a picture's longer side
_FEATURES, _WORDS = 4, 300


def shown(column: Column, spec: ModalitySpec, row: int) -> str:
    """What stands for a present row of one modality: a picture's ``data:`` address, or words."""
    try:
        value = column.take(np.array([row]))[0]
    except DataError as error:
        return str(error)
    if isinstance(value, Tokens):
        value = value.values.numpy()
    if isinstance(value, Video):
        return _picture(Image.fromarray(value.frames(1)[0]))
    if isinstance(value, Image.Image):
        return _picture(value)
    if isinstance(value, Sound):
        return _curves(value.samples)
    if isinstance(value, str):
        return value if len(value) <= _WORDS else value[: _WORDS - 1] + "…"
    numbers = np.asarray(value, dtype=np.float64)
    if spec.kind == "image":
        return _pixels(numbers)
    if spec.kind == "series":
        return _curves(numbers.reshape(len(numbers), -1).T)
    if spec.kind in ("vector", "table"):
        return _features(numbers, spec)
    return f"{spec.kind} of shape {numbers.shape}"


def _picture(picture: Image.Image) -> str:
    """A small PNG inside an address."""
    picture = picture.convert("RGB")
    picture.thumbnail((_SIDE, _SIDE))
    return _address(picture)


def _address(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _pixels(values: NDArray[np.float64]) -> str:
    """An array (channels, height, width) between its own lowest and highest number."""
    low, high = np.nanmin(values), np.nanmax(values)
    level = np.nan_to_num((values - low) / ((high - low) or 1.0)) * 255
    three = level[:3] if len(level) >= 3 else np.repeat(level[:1], 3, axis=0)
    found = Image.fromarray(three.transpose(1, 2, 0).astype(np.uint8))
    scale = max(_SIDE // max(found.size), 1)
    return _picture(found.resize((found.width * scale, found.height * scale), Image.Resampling.BOX))


def _curves(channels: NDArray[Any]) -> str:
    """The first channels over time; of many points the extremes of equal parts."""
    low, high = float(np.nanmin(channels)), float(np.nanmax(channels))
    picture = Image.new("RGB", (2 * _SIDE, _SIDE // 2), "white")
    pen = ImageDraw.Draw(picture)
    for channel, colour in zip(channels, COLOURS, strict=False):
        level = (np.nan_to_num(channel, nan=low) - low) / ((high - low) or 1.0)
        if len(level) > picture.width:
            parts = np.array_split(level, picture.width // 2)
            level = np.array([end for part in parts for end in (part.min(), part.max())])
        across = np.linspace(0, picture.width - 1, max(len(level), 2))
        level = np.broadcast_to(level, across.shape) if len(level) < 2 else level
        down = (picture.height - 3) * (1 - level) + 1
        pen.line(list(zip(across.tolist(), down.tolist(), strict=True)), fill=colour)
    return _address(picture)


def _features(values: NDArray[np.float64], spec: ModalitySpec) -> str:
    """The numbers that are furthest from the training mean, in deviations; or the first ones."""
    count = spec.numeric_width
    names = spec.columns or [f"no. {i}" for i in range(len(values))]
    words = _levels(values[count:], spec, names[count:])
    numbers = values[:count]
    if spec.mean:
        away = (numbers - np.asarray(spec.mean)) / np.asarray(spec.std)
        order = np.argsort(-np.abs(np.nan_to_num(away)), kind="stable")[:_FEATURES]
        words += [f"{names[i]} {numbers[i]:.4g} ({away[i]:+.1f} sd)" for i in order]
    else:
        words += [f"{names[i]} {numbers[i]:.4g}" for i in range(min(count, _FEATURES))]
    return ", ".join(words)


def _levels(codes: NDArray[np.float64], spec: ModalitySpec, names: Sequence[str]) -> list[str]:
    """Categories by name."""
    found = []
    for i, code in enumerate(codes.astype(int)):
        levels = spec.levels[i] if i < len(spec.levels) else ()
        level = "unknown" if code == 0 else levels[code - 1] if levels else str(code)
        found.append(f"{names[i]} {level}")
    return found
