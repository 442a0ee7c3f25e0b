"""ProjectedEncoder: a head on any encoder, with the encoder's preprocessing and freezing."""

from __future__ import annotations

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import ModalitySpec
from mmfuse.testing import check_encoder
from mmfuse_encoders import HashedNgramEncoder, MLPEncoder, ProjectedEncoder


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("MLPEncoder", {"hidden": [4]}),
        ("GRUEncoder", {"hidden": 4}),
        ("HashedNgramEncoder", {"hidden": 4}),
    ],
)
def test_it_keeps_the_promises_of_an_encoder(encoder: str, options: dict) -> None:
    check_encoder(ProjectedEncoder, encoder=encoder, options=options, out_dim=4, hidden=[3])


def test_the_head_reads_the_mean_token_of_the_encoder() -> None:
    made = ProjectedEncoder(ModalitySpec("text"), "HashedNgramEncoder", {"out_dim": 6}, out_dim=3)
    x = made.preprocess(["one text", "another"])
    torch.testing.assert_close(made(x), made.head(made.encoder(x)))


def test_around_an_encoder_it_is_rebuilt_with_it() -> None:
    inner = MLPEncoder(5, out_dim=7, frozen=True)
    made = ProjectedEncoder.around(inner, 4, (3,))
    assert made.encoder is inner
    again = rebuild(describe(made, without=("spec",)), made.spec)
    again.load_state_dict(made.state_dict())
    x = torch.randn(2, 5)
    torch.testing.assert_close(again(x), made(x))
    assert again.encoder.frozen


def test_only_the_head_learns_on_a_frozen_encoder() -> None:
    made = ProjectedEncoder(5, "MLPEncoder", {"frozen": True}).train()
    assert not made.encoder.training
    made(torch.randn(2, 5)).sum().backward()
    assert {n for n, p in made.named_parameters() if p.grad is not None} == {
        "head.0.weight",
        "head.0.bias",
    }


def test_mistakes_are_told() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'MLPEncoder'"):
        ProjectedEncoder(5, "MLPEncodr")
    with pytest.raises(ConfigError, match="takes text"):
        ProjectedEncoder(5, "HashedNgramEncoder")
    assert ProjectedEncoder(ModalitySpec("text"), "HashedNgramEncoder").kinds == (
        HashedNgramEncoder.kinds
    )
