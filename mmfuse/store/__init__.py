"""Store: a folder of extracted features, its plan, its shards and its manifest."""

from mmfuse.store.folder import FORMAT, SPLITS, FeatureFolder
from mmfuse.store.load import load

__all__ = ["FORMAT", "SPLITS", "FeatureFolder", "load"]
