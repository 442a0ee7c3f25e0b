"""Binding: several frozen embedding spaces become one, without data that pairs them."""

from mmfuse.binding.aggregation import Aggregation
from mmfuse.binding.fit import Training
from mmfuse.binding.methods import (
    CMCR,
    BindingMethod,
    FreeBind,
    MeanOfSpaces,
    OmniBind,
    Specialist,
)
from mmfuse.binding.pairs import Pairs
from mmfuse.binding.pools import Pool
from mmfuse.binding.retrieval import Retrieval
from mmfuse.binding.run import bind
from mmfuse.binding.space import BoundSpace

__all__ = [
    "CMCR",
    "Aggregation",
    "BindingMethod",
    "BoundSpace",
    "FreeBind",
    "MeanOfSpaces",
    "OmniBind",
    "Pairs",
    "Pool",
    "Retrieval",
    "Specialist",
    "Training",
    "bind",
]
