"""The ball of an attack: where random starts lie."""

from __future__ import annotations

import pytest
import torch

from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.surface import PartsAlone, TokenPart
from mmfuse.robustness.attacks.threat import Norm, Threat


def ball(padding: int, norm: Norm, index: list[int]) -> Ball:
    """Three real tokens of two numbers a row, and padding."""
    values = torch.randn(len(index), 3 + padding, 2)
    mask = torch.arange(3 + padding).expand(len(index), -1) < 3
    part = TokenPart(values, mask.unsqueeze(2).expand_as(values), mask, None, None)
    surface = PartsAlone({"words": part}, torch.tensor(index))
    return Ball(surface, Threat(("words",), norm, on="tokens"), torch.ones(len(index)))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_rows_random_start_depends_on_its_number_alone(norm: Norm):
    alone = ball(0, norm, [7]).random(0, "start")["words"]
    among = ball(4, norm, [2, 7]).random(0, "start")["words"]
    torch.testing.assert_close(among[1:, :3], alone)
    assert not among[:, 3:].any()
    assert not torch.equal(among[0, :3], alone[0])
