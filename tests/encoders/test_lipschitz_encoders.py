import pytest
import torch
from torch import nn

from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse_encoders import (
    IdentityEncoder,
    LinearEncoder,
    LipschitzCNNEncoder,
    LipschitzMLPEncoder,
    MLPEncoder,
)
from mmfuse_encoders.nonexpansive import MaxMin, OrthonormalLinear, RescaledConv2d


def stretch(module, *shape):
    """The largest singular value of the Jacobian among a few points."""
    found = []
    for _ in range(5):
        x = torch.randn(1, *shape, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(module, x).flatten(1)
        found.append(torch.linalg.matrix_norm(jacobian.view(-1, x.numel()), 2))
    return max(found).item()


def shaken(module, seed=0):
    """Weights far from where they start."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 2)
    return module.double().eval()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bound", [1.0, 3.0])
def test_no_encoder_stretches_more_than_it_says(seed, bound):
    mlp = shaken(LipschitzMLPEncoder(6, 4, hidden=(7, 10), bound=bound), seed)
    cnn = shaken(LipschitzCNNEncoder((2, 7, 6), 5, hidden=3, layers=3, bound=bound), seed)
    for encoder, shape in ((mlp, (6,)), (cnn, (2, 7, 6))):
        assert encoder.lipschitz == bound
        assert 0 < stretch(encoder, *shape) <= bound * (1 + 1e-9)


def test_an_orthonormal_map_keeps_distances_where_it_can():
    widening = shaken(OrthonormalLinear(3, 5))
    x, y = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close((widening(x) - widening(y)).norm(dim=1), (x - y).norm(dim=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_scaled_below_norm_one_and_not_far_below(stride):
    conv = shaken(RescaledConv2d(3, 4, stride=stride))
    assert stretch(conv, 3, 8, 8) <= 1 + 1e-9
    fresh = RescaledConv2d(3, 16).double()
    assert 0.4 < stretch(fresh, 3, 8, 8) <= 1 + 1e-9


def test_maxmin_moves_numbers_and_changes_none():
    x = torch.randn(4, 5, 2)
    assert torch.equal(MaxMin()(x).sort(dim=1).values, x.sort(dim=1).values)


def test_plain_encoders_say_what_is_proven_of_them():
    linear = shaken(LinearEncoder(4, 3))
    assert linear.lipschitz == pytest.approx(stretch(linear, 4))
    mlp = shaken(MLPEncoder(4, 3, hidden=(5,)))
    assert stretch(mlp, 4) <= mlp.lipschitz
    product = 1.0
    for layer in mlp.layers:
        if isinstance(layer, nn.Linear):
            product *= torch.linalg.matrix_norm(layer.weight, 2).item()
    assert mlp.lipschitz == pytest.approx(product)
    assert IdentityEncoder(4).lipschitz == 1.0
    assert MLPEncoder(ModalitySpec("vector", (4,), has_gaps=True), 3).lipschitz is None


def test_a_bound_of_nothing_is_refused():
    for make in (
        lambda: LipschitzMLPEncoder(3, bound=0),
        lambda: LipschitzCNNEncoder((1, 4, 4), bound=-1),
    ):
        with pytest.raises(ConfigError, match="bound is"):
            make()
