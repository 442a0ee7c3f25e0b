"""Unimodal encoders for mmfuse, one file a kind of input."""

from mmfuse_encoders.table import FTTransformerEncoder, TableMLPEncoder
from mmfuse_encoders.vector import LinearEncoder, MLPEncoder, ResidualMLPEncoder

__all__ = [
    "FTTransformerEncoder",
    "LinearEncoder",
    "MLPEncoder",
    "ResidualMLPEncoder",
    "TableMLPEncoder",
]
