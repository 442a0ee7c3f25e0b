"""Fusion modules, one file a method."""

from mmfuse.fusion.base import Fused, Fusion, PooledFusion
from mmfuse.fusion.concat import ConcatFusion
from mmfuse.fusion.sequential import SequentialFusion

__all__ = ["ConcatFusion", "Fused", "Fusion", "PooledFusion", "SequentialFusion"]
