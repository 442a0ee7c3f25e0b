"""Small values to try components on: tokens, masks, raw inputs, modules with stirred weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmfuse.batch import Batch, RawInput
from mmfuse.encoder import Encoder
from mmfuse.media import Sound, Video
from mmfuse.spec import Kind, ModalitySpec, TargetSpec
from mmfuse.tokens import Tokens

Module = TypeVar("Module", bound=nn.Module)

#: Widths of the modalities that fusions are tried on.
DIMS = {"a": 3, "b": 4, "c": 2}
#: What may stand in an absent slot. Whatever it is, it must change nothing.
GARBAGE = (float("nan"), float("inf"), float("-inf"), 1e30, 0.0)
#: Tolerance "to rounding" in float64.
ROUNDING = 1e-9

TEXTS = [
    "a short text",
    "one",
    "a longer text, with more words in it than any other here",
    "two words",
    "Numbers 1 2 3 and a name, Ada",
    "the last text of them all",
]

#: Specs that an encoder of each kind is tried on. Media have two forms or only one: arrays
#: of a known shape, and raw pictures, sounds or videos, whose shape is empty. An encoder that
#: takes gaps is tried with and without them.
SPECS: Mapping[Kind, tuple[ModalitySpec, ...]] = {
    "vector": (ModalitySpec("vector", (5,)), ModalitySpec("vector", (5,), has_gaps=True)),
    "table": (
        ModalitySpec("table", (5,), categories=(3, 4)),
        ModalitySpec("table", (3,)),
        ModalitySpec("table", (2,), categories=(2, 3)),
        ModalitySpec("table", (5,), categories=(3, 4), has_gaps=True),
    ),
    "image": (ModalitySpec("image", (3, 32, 32)), ModalitySpec("image")),
    "series": (
        ModalitySpec("series", (16, 2)),
        ModalitySpec("series", (None, 2)),
        ModalitySpec("series", (None, 3), has_gaps=True),
    ),
    "text": (ModalitySpec("text"),),
    "tokens": (ModalitySpec("tokens", (4, 3)), ModalitySpec("tokens", (None, 3))),
    "audio": (ModalitySpec("audio"),),
    "video": (ModalitySpec("video"),),
}

#: A target of each kind; survival in both of its models.
TARGETS = (
    TargetSpec("binary", ("no", "yes"), weights=(0.5, 2.0)),
    TargetSpec("multiclass", ("x", "y", "z")),
    TargetSpec("multilabel", ("x", "y")),
    TargetSpec("regression", width=2, mean=(1.0, -1.0), std=(2.0, 0.5)),
    TargetSpec("survival", cuts=(0.5, 1.0, 4.0)),
    TargetSpec("survival"),
)


def every_subset(count: int) -> Tensor:
    """``(2^M, M)`` bool, each subset of the modalities once, the empty one first."""
    return torch.arange(2**count).unsqueeze(1).bitwise_and(2 ** torch.arange(count)) > 0


def sample_tokens(dims: Mapping[str, int], rows: int, dtype: torch.dtype) -> dict[str, Tokens]:
    """Tokens of unequal lengths, at least one real token a row; the first modality has T = 1.

    The same at every call.
    """
    source, tokens = torch.Generator().manual_seed(2), {}
    for i, (m, width) in enumerate(dims.items()):
        values = torch.randn(rows, i + 1, width, dtype=torch.float64, generator=source)
        length = torch.arange(rows) % (i + 1) + 1
        tokens[m] = Tokens(values.to(dtype), torch.arange(i + 1) < length.unsqueeze(1))
    return tokens


def sample_raw(spec: ModalitySpec, rows: int = 6) -> Any:
    """Raw rows of one modality, as they come before ``Encoder.preprocess``.

    Pictures, sounds and videos differ in size and length.
    """
    if not spec.shape:
        return [_RAW[spec.kind](i) for i in range(rows)]
    if spec.kind == "table":
        codes = [torch.arange(rows) % c for c in spec.categories]
        numbers = _numbers(spec, rows, spec.numeric_width)
        return torch.cat([numbers, *[c.unsqueeze(1).float() for c in codes]], dim=1)
    if None not in spec.shape:
        return _numbers(spec, rows, *[s for s in spec.shape if s is not None])
    length = torch.arange(rows) * 5 % rows + 8
    longest = int(length.max())
    values = _numbers(spec, rows, longest, spec.width)
    return Tokens(values, torch.arange(longest) < length.unsqueeze(1))


def _numbers(spec: ModalitySpec, *shape: int) -> Tensor:
    values = torch.randn(*shape)
    if spec.has_gaps:
        values.view(-1)[1::4] = float("nan")
    return values


def _picture(i: int, count: int = 1) -> np.ndarray:
    """``(count, height, width, 3)`` uint8: a gradient with noise on it, of another size each."""
    height, width = 24 + 8 * i % 40, 40 - 6 * i % 23
    slope = np.linspace(0, 155, height)[:, None, None] * (i + 1) % 155
    noise = np.random.default_rng(i).integers(0, 100, (count, height, width, 3))
    return (slope + noise).astype(np.uint8)


def _sound(i: int) -> Sound:
    """A tone with noise on it: 0.3 to 1.2 seconds, three rates, one channel or two."""
    rate = (8000, 16000, 22050)[i % 3]
    time = np.arange(int(rate * (0.3 + 0.35 * i % 0.9))) / rate
    noise = np.random.default_rng(i).normal(size=(1 + i % 2, len(time)))
    samples = 0.5 * np.sin(2 * np.pi * 220 * (i + 1) * time) + 0.05 * noise
    return Sound(samples.astype(np.float32), rate)


class SampleVideo(Video):
    """A video of noise, which needs no decoder."""

    def frames(self, count: int) -> np.ndarray:
        """``(count, height, width, 3)`` uint8, RGB."""
        return _picture(int(str(self.source)), count)


_RAW: Mapping[Kind, Callable[[int], Any]] = {
    "text": lambda i: TEXTS[i % len(TEXTS)],
    "image": lambda i: Image.fromarray(_picture(i)[0]),
    "audio": _sound,
    "video": lambda i: SampleVideo(str(i)),
}


def as_dtype(x: RawInput, dtype: torch.dtype) -> RawInput:
    """The same input with its real numbers in ``dtype``; integers stay."""
    if isinstance(x, Tokens):
        return Tokens(_cast(x.values, dtype), x.mask)
    return _cast(x, dtype)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def spoilt(x: RawInput, rows: Tensor, garbage: float) -> RawInput:
    """The same input with ``garbage`` in the rows (bool); integers become 0 or a huge number."""
    if isinstance(x, Tokens):
        return Tokens(_spoilt(x.values, rows, garbage), x.mask ^ rows.unsqueeze(1))
    return _spoilt(x, rows, garbage)


def _spoilt(x: Tensor, rows: Tensor, garbage: float) -> Tensor:
    if not x.is_floating_point():
        garbage = 0 if garbage == 0 else torch.iinfo(x.dtype).max
    return x.masked_fill(rows.view(-1, *[1] * (x.dim() - 1)), garbage)


def stirred(module: Module) -> Module:
    """The module with every learned weight moved off its first value.

    A zero that a constructor wrote could hide a leak, or make a prior look like nothing.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return module


def gradients(
    outputs: Mapping[str, Tensor], module: nn.Module, inputs: Iterable[tuple[str, Tensor]] = ()
) -> dict[str, Tensor]:
    """Gradient of all outputs together, for every parameter and each named input.

    Outputs are added with unequal factors, so that no difference cancels. What no gradient
    reaches is left out.
    """
    total = torch.zeros((), dtype=torch.float64)
    for value in outputs.values():
        if value.requires_grad:
            factors = torch.linspace(0.5, 1.5, value.numel(), dtype=torch.float64)
            total = total + (value.double().cpu() * factors.view_as(value)).sum()
    if not total.requires_grad:
        return {}
    leaves: list[tuple[str, Tensor]] = [
        *((n, p) for n, p in module.named_parameters() if p.requires_grad),
        *inputs,
    ]
    found = torch.autograd.grad(total, [leaf for _, leaf in leaves], allow_unused=True)
    pairs = zip(leaves, found, strict=True)
    return {f"gradient of {n}": g for (n, _), g in pairs if g is not None}


class _Affine(Encoder):
    """A linear map, to stand between raw vectors and the fusion or objective under check."""

    def __init__(self, spec: ModalitySpec, out_dim: int, frozen: bool = False) -> None:
        super().__init__(spec, out_dim, frozen)
        self.map = nn.Linear(self.spec.width, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x)


def affine_encoders(dims: Mapping[str, int]) -> dict[str, Encoder]:
    """One linear encoder a modality, from vectors of ``RAW_WIDTH`` to each width."""
    return {m: _Affine(ModalitySpec.of(RAW_WIDTH), d) for m, d in dims.items()}


#: Width of the raw vectors that feed ``affine_encoders``.
RAW_WIDTH = 5


def vector_batch(
    modalities: Iterable[str], present: Tensor, dtype: torch.dtype = torch.float64
) -> Batch:
    """Raw vectors for a model of ``affine_encoders``."""
    names = tuple(modalities)
    inputs = {m: torch.randn(len(present), RAW_WIDTH, dtype=torch.float64).to(dtype) for m in names}
    return Batch(names, inputs, present)


def spoilt_batch(batch: Batch, garbage: float) -> Batch:
    """The same batch with ``garbage`` in every absent slot."""
    columns = dict(zip(batch.modalities, batch.present.unbind(dim=1), strict=True))
    inputs = {m: spoilt(x, ~columns[m], garbage) for m, x in batch.inputs.items()}
    return Batch(batch.modalities, inputs, batch.present, batch.target, batch.index)
