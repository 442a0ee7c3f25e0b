"""What every component promises as a torch module: precision, determinism, copies, rebuilding."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmfuse.testing.promises import require, require_equal, require_finite
from mmfuse.testing.values import gradients


class ModuleSubject(Protocol):
    """A component under check: how to build it, and how to run it on its sample."""

    def build(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """A fresh module in eval mode, its weights stirred."""

    def rebuilt(self, module: Any) -> nn.Module:
        """The module as a checkpoint would build it: from its description, fresh weights."""

    def outputs(
        self, module: Any, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> dict[str, Tensor]:
        """Everything the module gives for the sample, by name."""


def deterministic_in_eval(subject: ModuleSubject) -> None:
    """Two calls in eval mode give the same bits."""
    module = subject.build()
    first = subject.outputs(module)
    require_equal(subject.outputs(module), first, "between two calls in eval mode")


def reproducible_in_training(subject: ModuleSubject) -> None:
    """Two training calls under one seed give the same bits."""
    module = subject.build()
    twin = copy.deepcopy(module)
    found = []
    for each in (module, twin):
        torch.manual_seed(1)
        found.append(subject.outputs(each.train()))
    require_equal(found[1], found[0], "between two training calls under one seed")


def eval_leaves_no_trace(subject: ModuleSubject) -> None:
    """A call in eval mode changes no parameter and no buffer."""
    module = subject.build()
    before = copy.deepcopy(dict(module.state_dict()))
    subject.outputs(module)
    require_equal(dict(module.state_dict()), before, "after a call in eval mode")


def survives_copying(subject: ModuleSubject) -> None:
    """A deep copy and an unpickled copy give the same bits."""
    module = subject.build()
    expected = subject.outputs(module)
    require_equal(subject.outputs(copy.deepcopy(module)), expected, "in a deep copy")
    unpickled = pickle.loads(pickle.dumps(module))
    require_equal(subject.outputs(unpickled), expected, "in an unpickled copy")


def survives_a_checkpoint(subject: ModuleSubject) -> None:
    """Rebuilt from its plain description, with its state_dict loaded, it gives the same bits."""
    module = subject.build()
    fresh = subject.rebuilt(module).to(torch.float64)
    fresh.load_state_dict(module.state_dict())
    require_equal(subject.outputs(fresh.eval()), subject.outputs(module), "once rebuilt")


def works_in_every_precision(subject: ModuleSubject) -> None:
    """In float32, float64 and bfloat16 it answers in kind; scalar losses may be more precise."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        module = subject.build(dtype).train()
        outputs = subject.outputs(module, dtype)
        for name, value in outputs.items():
            if value.is_floating_point() and value.dim():
                require(value.dtype == dtype, f"{name} is {value.dtype} for {dtype} input")
        require_finite(outputs, f"in {dtype}")
        require_finite(gradients(outputs, module), f"in {dtype}")


def works_on_every_device(subject: ModuleSubject) -> None:
    """On an accelerator it answers what it answers on the CPU, to rounding."""
    if not torch.accelerator.is_available():
        return
    device = str(torch.accelerator.current_accelerator())
    module = subject.build()
    expected = subject.outputs(module)
    outputs = subject.outputs(module.to(device), device=device)
    for name, value in outputs.items():
        require(value.device.type == torch.device(device).type, f"{name} is on {value.device}")
    moved = {n: v.cpu() for n, v in outputs.items()}
    require_equal(moved, expected, f"on {device}", tolerance=1e-6)


def every_weight_learns(subject: ModuleSubject) -> None:
    """Every trainable parameter takes part: a training step gives it a gradient."""
    module = subject.build().train()
    found = gradients(subject.outputs(module), module)
    require_finite(found, "in training")
    names = [n for n, p in module.named_parameters() if p.requires_grad]
    idle = [n for n in names if f"gradient of {n}" not in found]
    require(not idle, f"no gradient for {idle}; remove what nothing reads, or read it")


def gradient_is_right(subject: ModuleSubject) -> None:
    """In eval mode the gradient of every parameter is the numerical one (float64)."""
    run = _Run(subject, subject.build())
    learned = {n: p for n, p in run.named_parameters() if p.requires_grad}
    if not learned:
        return

    check_gradient(
        lambda *values: functional_call(run, dict(zip(learned, values, strict=True)), ()),
        list(learned.values()),
    )


def check_gradient(run: Callable[..., dict[str, Tensor]], values: list[Tensor]) -> None:
    """Compares the gradient of all values together with the numerical one.

    All values are one vector and so are all outputs: one direction tries them all at once.
    """
    sizes = [v.numel() for v in values]
    vector = torch.cat([v.detach().flatten() for v in values]).requires_grad_()

    def joined(vector: Tensor) -> Tensor:
        parts = zip(vector.split(sizes), values, strict=True)
        outputs = run(*(part.view_as(value) for part, value in parts))
        return torch.cat([v.flatten() for v in outputs.values() if v.requires_grad])

    torch.autograd.gradcheck(joined, vector, fast_mode=True, atol=1e-6, rtol=1e-4)


class _Run(nn.Module):
    """A module on its sample, so that ``functional_call`` can give it other weights."""

    def __init__(self, subject: ModuleSubject, module: nn.Module) -> None:
        super().__init__()
        self.subject, self.module = subject, module

    def forward(self) -> dict[str, Tensor]:
        return self.subject.outputs(self.module)


#: The promises of any module, in the order in which they are checked.
MODULE_CHECKS = (
    deterministic_in_eval,
    reproducible_in_training,
    eval_leaves_no_trace,
    survives_copying,
    survives_a_checkpoint,
    works_in_every_precision,
    works_on_every_device,
    every_weight_learns,
)
