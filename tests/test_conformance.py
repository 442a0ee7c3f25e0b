"""Every fusion, encoder and objective that the library knows, put through the kit.

Parametrised over the registry, so that a class is tested the day it is added. Each option
with a handful of values (a Literal or a bool) is tried at every value as well, and dropout at 0.5.
torch.export, the slowest check, is left out where an option changes training alone. Encoders
around pretrained backbones need a file of weights: their own tests put them through the kit.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest

import mmfuse.testing.fusion as kit
from mmfuse.encoder import Encoder
from mmfuse.fusion import DisProFusion, Fusion, ImputedFusion
from mmfuse.fusion.imputers import CascadeImputer
from mmfuse.objectives import Objective
from mmfuse.registry import known
from mmfuse.testing import check_encoder, check_fusion, check_objective
from mmfuse.testing.objective import FUSIONS
from mmfuse_encoders.pretrained import PretrainedEncoder

# Few and narrow layers wherever a class lets us choose, as promises do not depend on size.
SMALL = {"out_dim": 8, "hidden": 8, "layers": 2, "latents": 4, "head_dim": 4, "frames": 2}
# What the checks of freezing and of schedules try in their own way, and the test of a graph's
# positions, which need columns that hold one.
TRIED_ELSEWHERE = {"frozen", "schedule", "position"}
# What changes nothing in eval mode, and so nothing in what torch.export makes.
TRAINING_ONLY = {"dropout", "order"}
DISPRO = functools.partial(DisProFusion, out_dim=4, heads=2, layers=1, hidden=4, length=2, top=2)
# Objectives that train what only one fusion has.
FUSIONS_FOR = {
    "ImputationLoss": (
        functools.partial(
            ImputedFusion,
            options={"out_dim": 4, "hidden": 4},
            imputer=CascadeImputer(hidden=(4,), blocks=2),
        ),
    ),
    "PrototypeDistillation": (DISPRO,),
    "PrototypeLoss": (DISPRO,),
}


def variants(cls: type) -> Iterator[dict[str, Any]]:
    """The defaults, then each other value of each option that has few."""
    parameters = inspect.signature(cls).parameters
    small = {
        name: min(value, parameters[name].default)
        for name, value in SMALL.items()
        if name in parameters and isinstance(parameters[name].default, int)
    }
    yield small
    hints = typing.get_type_hints(cls.__init__)
    for name, parameter in parameters.items():
        for value in (0.5,) if name == "dropout" else values(hints.get(name)):
            if value != parameter.default and name not in TRIED_ELSEWHERE:
                yield {**small, name: value}


def values(hint: Any) -> tuple[Any, ...]:
    """Every value of a type that has few."""
    if hint is bool:
        return (False, True)
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def cases(base: type) -> list[Any]:
    """One test case for each class of ours and each of its variants."""
    ours = [
        c
        for c in known(base).values()
        if c.__module__.split(".")[0].startswith("mmfuse") and not issubclass(c, PretrainedEncoder)
    ]
    return [
        pytest.param(cls, options, id=f"{cls.__name__}-{shown(options)}")
        for cls in ours
        for options in variants(cls)
    ]


def shown(options: dict[str, Any]) -> str:
    return ",".join(f"{k}={v}" for k, v in options.items() if k not in SMALL) or "default"


@pytest.mark.parametrize(("cls", "options"), cases(Fusion))
def test_every_fusion_keeps_its_promises(cls, options, monkeypatch):
    if options.keys() & TRAINING_ONLY:
        checks = tuple(c for c in kit.FUSION_CHECKS if c is not kit.exports)
        monkeypatch.setattr(kit, "FUSION_CHECKS", checks)
    check_fusion(cls, **options)


@pytest.mark.parametrize(("cls", "options"), cases(Encoder))
def test_every_encoder_keeps_its_promises(cls, options):
    check_encoder(cls, **options)


@pytest.mark.parametrize(("cls", "options"), cases(Objective))
def test_every_objective_keeps_its_promises(cls, options):
    check_objective(cls, FUSIONS_FOR.get(cls.__name__, FUSIONS), **options)
