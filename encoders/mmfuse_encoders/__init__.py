"""Unimodal encoders for mmfuse, one file a kind of input."""

from mmfuse_encoders.vector import LinearEncoder, MLPEncoder

__all__ = ["LinearEncoder", "MLPEncoder"]
