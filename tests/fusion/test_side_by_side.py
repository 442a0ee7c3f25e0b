"""SideBySideFusion: each modality has a block, which a learned vector fills where it is absent."""

from __future__ import annotations

import torch

from mmfuse import Tokens
from mmfuse.fusion import SideBySideFusion


def test_each_modality_keeps_its_block():
    fusion = SideBySideFusion({"a": 3, "b": 2})
    torch.nn.init.normal_(fusion.absent_b)
    a, b = torch.randn(4, 3), torch.randn(4, 2)
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    vector = fusion({"a": Tokens.of(a), "b": Tokens.of(b)}, present).vector
    assert fusion.out_dim == vector.shape[1] == 5
    assert torch.equal(vector[:2, fusion.blocks["a"]], a[:2])
    assert torch.equal(vector[[0, 2]][:, fusion.blocks["b"]], b[[0, 2]])
    assert torch.equal(vector[1, fusion.blocks["b"]], fusion.absent_b)
    assert torch.equal(vector[3], fusion.prior)
