"""Sources of interactions: tables, saved data sets, arrays, public layouts, named sets."""

from mmfuse.recommend.sources.arrays import InteractionArrays
from mmfuse.recommend.sources.base import InteractionSource, RawInteractions
from mmfuse.recommend.sources.mmrec import MMRecFolder
from mmfuse.recommend.sources.named import INTERACTIONS, CatalogueInteractions
from mmfuse.recommend.sources.saved import InteractionDataset
from mmfuse.recommend.sources.tables import InteractionTable

__all__ = [
    "INTERACTIONS",
    "CatalogueInteractions",
    "InteractionArrays",
    "InteractionDataset",
    "InteractionSource",
    "InteractionTable",
    "MMRecFolder",
    "RawInteractions",
]
