"""Features: extraction to files, reading them back, and nearest neighbours among them.

Names are imported on first use, so that the commands are quick to say what they take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmfuse.lazy import lazy

_HOMES = {
    "Extractor": "mmfuse.features.extractor",
    "FeatureIndex": "mmfuse.features.feature_index",
    "Neighbours": "mmfuse.features.neighbours",
    "embed": "mmfuse.features.query",
    "index": "mmfuse.features.feature_index",
    "load": "mmfuse.store.load",
    "write": "mmfuse.features.written",
}

if TYPE_CHECKING:
    from mmfuse.features.extractor import Extractor
    from mmfuse.features.feature_index import FeatureIndex, index
    from mmfuse.features.neighbours import Neighbours
    from mmfuse.features.query import embed
    from mmfuse.features.written import write
    from mmfuse.store.load import load
else:
    __getattr__ = lazy(__name__, _HOMES)

__all__ = ["Extractor", "FeatureIndex", "Neighbours", "embed", "index", "load", "write"]
