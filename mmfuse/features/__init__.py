"""Features: extraction to files, reading them back, and nearest neighbours among them."""

from mmfuse.features.extractor import Extractor
from mmfuse.features.load import load

__all__ = ["Extractor", "load"]
