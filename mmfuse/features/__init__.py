"""Features: extraction to files, reading them back, and nearest neighbours among them."""

from mmfuse.features.extractor import Extractor
from mmfuse.features.feature_index import FeatureIndex, index
from mmfuse.features.neighbours import Neighbours
from mmfuse.features.query import embed
from mmfuse.features.written import write
from mmfuse.store.load import load

__all__ = ["Extractor", "FeatureIndex", "Neighbours", "embed", "index", "load", "write"]
