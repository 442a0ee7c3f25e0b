import pytest
import torch

from mmfuse import ModalitySpec, Tokens
from mmfuse.standardise import Standardise


def test_numbers_become_standard_and_codes_pass_unchanged():
    spec = ModalitySpec("table", (3,), categories=(9,), mean=(1.0, 2.0), std=(2.0, 4.0))
    x = torch.tensor([[1.0, 2.0, 7.0], [3.0, -2.0, 0.0]])
    assert Standardise(spec)(x).tolist() == [[0.0, 0.0, 7.0], [1.0, -1.0, 0.0]]


def test_an_image_is_standardised_by_channel():
    spec = ModalitySpec("image", (2, 1, 2), mean=(1.0, 10.0), std=(1.0, 5.0))
    x = torch.tensor([[[[1.0, 2.0]], [[10.0, 20.0]]]])
    assert Standardise(spec)(x).tolist() == [[[[0.0, 1.0]], [[0.0, 2.0]]]]


@pytest.mark.parametrize("kind", ["series", "tokens"])
def test_every_step_of_a_series_is_standardised_by_feature(kind):
    spec = ModalitySpec(kind, (None, 2), mean=(1.0, 2.0), std=(1.0, 2.0))
    mask = torch.tensor([[True, True, False]])
    ragged = Tokens(torch.tensor([[[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]]]), mask)
    found = Standardise(spec)(ragged)
    assert found.values[0, :2].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert found.mask is mask
    torch.testing.assert_close(Standardise(spec)(ragged.values), found.values)


def test_the_training_rows_come_out_with_mean_zero_and_deviation_one():
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * 7 - 30
    mean, std = x.mean(dim=0), x.std(dim=0)
    spec = ModalitySpec("vector", (4,), mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    found = Standardise(spec)(x)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=0), torch.ones(4))


def test_the_statistics_belong_to_the_spec_not_to_the_weights():
    module = Standardise(ModalitySpec("vector", (1,), mean=(1.0,), std=(2.0,)))
    assert not module.state_dict()
    assert not list(module.parameters())
