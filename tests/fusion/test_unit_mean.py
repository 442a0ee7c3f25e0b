"""UnitMeanFusion: the mean direction, without anything to learn where widths agree."""

from __future__ import annotations

import torch

from mmfuse.fusion import UnitMeanFusion
from mmfuse.tokens import Tokens


def test_it_is_the_mean_direction_of_what_is_present() -> None:
    fusion = UnitMeanFusion({"a": 3, "b": 3}).double()
    a, b = torch.randn(2, 4, 3, dtype=torch.float64)
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    found = fusion({"a": Tokens.of(a), "b": Tokens.of(b)}, present).vector
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b)]
    both = (unit[0] + unit[1])[0] / 2
    torch.testing.assert_close(found[0], both / both.norm())
    torch.testing.assert_close(found[1], unit[0][1])
    torch.testing.assert_close(found[2], unit[1][2])
    assert [n for n, _ in fusion.named_parameters()] == ["prior"]


def test_another_width_is_mapped_first() -> None:
    fusion = UnitMeanFusion({"a": 3, "b": 5})
    assert (fusion.out_dim, set(fusion.project)) == (5, {"a"})
    assert set(UnitMeanFusion({"a": 3, "b": 5}, out_dim=4).project) == {"a", "b"}
