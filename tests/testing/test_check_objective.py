"""The kit catches objectives that break a promise, and passes one that keeps them."""

from __future__ import annotations

import pytest

from mmfuse.errors import ConfigError
from mmfuse.objectives import Objective
from mmfuse.testing import ConformanceError, check_objective


class _Small(Objective):
    """Small joint vectors."""

    def forward(self, model, batch, tokens, output):
        return {"size": output.fused.vector.square().mean()}


class _ReadsRaw(_Small):
    def forward(self, model, batch, tokens, output):
        size = super().forward(model, batch, tokens, output)["size"]
        return {"size": size * batch.inputs["a"].mean()}


class _NoScalar(_Small):
    def forward(self, model, batch, tokens, output):
        return {"size": output.fused.vector.square().mean(dim=1)}


class _DividesByZero(_Small):
    def forward(self, model, batch, tokens, output):
        here = model.present(batch).all(dim=1)
        return {"size": output.fused.vector[here].square().mean()}


class _TeachesNothing(_Small):
    def forward(self, model, batch, tokens, output):
        return {"size": output.fused.vector.detach().square().mean()}


class _ChangesTheModel(_Small):
    def forward(self, model, batch, tokens, output):
        model.fusion.prior.data += 1
        return super().forward(model, batch, tokens, output)


class _Overshoots(_Small):
    def factor(self, progress):
        return 2 * self.weight


class _Fits(_Small):
    def build(self, model):
        raise ConfigError("nothing suits")


def test_an_honest_objective_passes():
    check_objective(_Small, weight=0.5)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (_ReadsRaw, "nothing_leaks"),
        (_NoScalar, "gives_named_scalars"),
        (_DividesByZero, "any_batch_works"),
        (_TeachesNothing, "gives_named_scalars"),
        (_ChangesTheModel, "eval_leaves_no_trace"),
        (_Overshoots, "weighting_is_plain"),
        (_Fits, "some_model_fits"),
    ],
)
def test_a_broken_objective_is_caught_and_the_promise_is_named(broken, promise):
    with pytest.raises(ConformanceError) as caught:
        check_objective(broken)
    assert promise in caught.value.broken
    assert broken.__name__ in str(caught.value)
