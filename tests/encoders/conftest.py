"""What the tests of several encoders share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmfuse.encoder import Encoder
from mmfuse.tokens import Tokens


def _accuracy_gained(encoder: Encoder, x, labels, steps: int = 60) -> tuple[float, float]:
    head = nn.Linear(encoder.out_dim, int(labels.max()) + 1)
    nn.init.zeros_(head.weight)  # a lucky head would know the classes before training
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-2)

    def logits():
        return head(Tokens.of(encoder(x)).pooled())

    def accuracy():
        return (logits().argmax(dim=1) == labels).double().mean().item()

    before = accuracy()
    encoder.train()
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(logits(), labels).backward()
        optimiser.step()
    encoder.eval()
    return before, accuracy()


@pytest.fixture
def learns() -> Callable[..., None]:
    """Asserts that training teaches it to tell the classes apart."""

    def check(encoder: Encoder, x, labels, steps: int = 60) -> None:
        before, after = _accuracy_gained(encoder, x, labels, steps)
        assert before < 0.8
        assert after > 0.95

    return check


@pytest.fixture
def trains_on_one_row() -> Callable[..., None]:
    """Asserts that a training step on a single row gives every weight a finite gradient."""

    def check(encoder: Encoder, x) -> None:
        output = Tokens.of(encoder.train()(x))
        assert len(output) == 1
        (output.pooled() * torch.linspace(1, 2, encoder.out_dim)).sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    return check


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
