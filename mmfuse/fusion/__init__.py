"""Fusion modules, one file a method."""

from mmfuse.fusion.base import Fused, Fusion, LateFusion, PooledFusion
from mmfuse.fusion.bottleneck import BottleneckFusion
from mmfuse.fusion.concat import ConcatFusion
from mmfuse.fusion.crmt import CRMTFusion
from mmfuse.fusion.cross_attention import CrossModalAttentionFusion
from mmfuse.fusion.dispro import DisProFusion
from mmfuse.fusion.feature_attention import FeatureAttentionFusion
from mmfuse.fusion.gated import GatedFusion
from mmfuse.fusion.imputed import ImputedFusion
from mmfuse.fusion.ithp import ITHPFusion, ITHPResidualFusion
from mmfuse.fusion.late import LateConfidenceFusion, LateMeanFusion, LateProductFusion
from mmfuse.fusion.lego import (
    LegoBlock,
    LegoFusion,
    LegoMergeFusion,
    LegoStackFusion,
    LegoWeaveFusion,
)
from mmfuse.fusion.low_rank import LowRankTensorFusion
from mmfuse.fusion.pooling import MaxFusion, MeanFusion, SumFusion
from mmfuse.fusion.progressive import ProgressiveWeightFusion
from mmfuse.fusion.prompts import MissingPromptFusion
from mmfuse.fusion.router import RouterFusion
from mmfuse.fusion.sequential import SequentialFusion
from mmfuse.fusion.shaspec import ShaSpecFusion
from mmfuse.fusion.side_by_side import SideBySideFusion
from mmfuse.fusion.ssma import SSMAFusion
from mmfuse.fusion.tensor import TensorFusion
from mmfuse.fusion.transformer import TransformerFusion
from mmfuse.fusion.unit_mean import UnitMeanFusion

__all__ = [
    "BottleneckFusion",
    "CRMTFusion",
    "ConcatFusion",
    "CrossModalAttentionFusion",
    "DisProFusion",
    "FeatureAttentionFusion",
    "Fused",
    "Fusion",
    "GatedFusion",
    "ITHPFusion",
    "ITHPResidualFusion",
    "ImputedFusion",
    "LateConfidenceFusion",
    "LateFusion",
    "LateMeanFusion",
    "LateProductFusion",
    "LegoBlock",
    "LegoFusion",
    "LegoMergeFusion",
    "LegoStackFusion",
    "LegoWeaveFusion",
    "LowRankTensorFusion",
    "MaxFusion",
    "MeanFusion",
    "MissingPromptFusion",
    "PooledFusion",
    "ProgressiveWeightFusion",
    "RouterFusion",
    "SSMAFusion",
    "SequentialFusion",
    "ShaSpecFusion",
    "SideBySideFusion",
    "SumFusion",
    "TensorFusion",
    "TransformerFusion",
    "UnitMeanFusion",
]
