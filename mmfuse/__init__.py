"""mmfuse: multimodal representation and fusion, honest about absent modalities.

Names are imported on first use, so that ``import mmfuse`` and ``mmfuse --help`` stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Batch": "mmfuse.batch",
    "DataSpec": "mmfuse.spec",
    "Encoder": "mmfuse.encoder",
    "FusionModel": "mmfuse.model",
    "ModalitySpec": "mmfuse.spec",
    "Output": "mmfuse.model",
    "TargetSpec": "mmfuse.spec",
    "Tokens": "mmfuse.tokens",
}

if TYPE_CHECKING:
    from mmfuse.batch import Batch
    from mmfuse.encoder import Encoder
    from mmfuse.model import FusionModel, Output
    from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
    from mmfuse.tokens import Tokens

__all__ = [
    "Batch",
    "DataSpec",
    "Encoder",
    "FusionModel",
    "ModalitySpec",
    "Output",
    "TargetSpec",
    "Tokens",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mmfuse' has no attribute {name!r}")
