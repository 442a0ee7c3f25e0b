"""MM-Lego: blocks trained alone, whose latents merge or pass from block to block."""

from mmfuse.fusion.lego.block import LegoBlock
from mmfuse.fusion.lego.fusions import (
    LegoFusion,
    LegoMergeFusion,
    LegoStackFusion,
    LegoWeaveFusion,
)

__all__ = ["LegoBlock", "LegoFusion", "LegoMergeFusion", "LegoStackFusion", "LegoWeaveFusion"]
