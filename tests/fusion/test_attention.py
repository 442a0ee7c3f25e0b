import torch

from mmfuse.fusion.attention import padding


def test_padding_closes_what_is_not_real_but_never_a_whole_row():
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    assert padding(mask).tolist() == [[False, True, True], [False] * 3, [False] * 3]
