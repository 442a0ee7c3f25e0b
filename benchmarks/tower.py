"""open_clip's ViT-B-32 on pixels that are ready, for extraction.py."""

from __future__ import annotations

import open_clip
from torch import Tensor

from mmfuse import Encoder, ModalitySpec


class Tower(Encoder):
    """ViT-B-32 on pixels that are ready."""

    kinds = frozenset({"image"})

    def __init__(self, spec: ModalitySpec) -> None:
        super().__init__(spec, 512, frozen=True)
        self.visual = open_clip.create_model("ViT-B-32").visual

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)
