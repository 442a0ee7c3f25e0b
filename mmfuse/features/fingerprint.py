"""Fingerprints: which model made features, from which data, with which libraries."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

import mmfuse
from mmfuse.encoder import Encoder
from mmfuse.recorded import describe

#: Libraries whose version may change a feature.
_LIBRARIES = (
    "torch",
    "torchvision",
    "torchaudio",
    "open_clip_torch",
    "timm",
    "transformers",
    "pillow",
    "soundfile",
    "av",
    "numpy",
    "pyarrow",
)


def of_module(module: nn.Module, description: Mapping[str, Any]) -> str:
    """A digest of how a module was built and of its weights."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, value in sorted(module.state_dict().items()):
        _update(digest, name, value)
    return digest.hexdigest()


def of_tensors(*tensors: Tensor) -> str:
    """A digest of what tensors hold, and of their types and shapes."""
    digest = hashlib.sha256()
    for x in tensors:
        _update(digest, "", x)
    return digest.hexdigest()


def _update(digest: Any, name: str, x: Tensor) -> None:
    digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
    flat = x.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)


def of_encoder(encoder: Encoder) -> str:
    """A digest of one encoder, whatever model it stands in."""
    return of_module(encoder, describe(encoder, without=("spec",)))


def libraries() -> dict[str, str]:
    """Versions of what may change a feature."""
    found = {"python": platform.python_version(), "mmfuse": mmfuse.__version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
