"""Imputers: what stands in for an absent modality, from those that are present."""

from mmfuse.fusion.imputers.base import FittedImputer, Imputer
from mmfuse.fusion.imputers.cascade import CascadeImputer
from mmfuse.fusion.imputers.mean import MeanImputer
from mmfuse.fusion.imputers.mixture import MixtureImputer
from mmfuse.fusion.imputers.nearest import KNNImputer
from mmfuse.fusion.imputers.placeholder import PlaceholderImputer
from mmfuse.fusion.imputers.prototypes import PrototypeImputer
from mmfuse.fusion.imputers.ridge import RidgeImputer

__all__ = [
    "CascadeImputer",
    "FittedImputer",
    "Imputer",
    "KNNImputer",
    "MeanImputer",
    "MixtureImputer",
    "PlaceholderImputer",
    "PrototypeImputer",
    "RidgeImputer",
]
