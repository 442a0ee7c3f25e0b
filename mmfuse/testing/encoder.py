"""check_encoder: every promise of a unimodal encoder, checked."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch, RawInput
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion.concat import ConcatFusion
from mmfuse.model import FusionModel
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import DataSpec, Kind, ModalitySpec, TargetSpec
from mmfuse.testing.module import MODULE_CHECKS, gradient_is_right
from mmfuse.testing.promises import (
    keep_promises,
    name_of,
    require,
    require_equal,
    require_finite,
)
from mmfuse.testing.values import (
    GARBAGE,
    ROUNDING,
    SPECS,
    as_dtype,
    gradients,
    sample_raw,
    spoilt_batch,
    stirred,
)
from mmfuse.tokens import Tokens


def check_encoder(
    make: Callable[..., Encoder], spec: ModalitySpec | None = None, **options: Any
) -> None:
    """Checks every promise of an encoder.

    Args:
        make: the class, or anything else that takes a ModalitySpec and gives the encoder.
        spec: what to try it on; None tries a few of each kind that the encoder takes, of media
            both arrays and raw pictures, sounds and videos.
        options: further arguments of ``make``; small widths make the checks quick.

    Raises:
        ConformanceError: with every promise that is broken and what was found.

    Example:
        >>> from mmfuse_encoders import LinearEncoder
        >>> check_encoder(LinearEncoder, out_dim=4)
    """
    build = functools.partial(make, **options)
    name = name_of(make, options)
    keep_promises(name, build, [kinds_are_declared])
    specs = [spec] if spec else [s for found in _taken(build).values() for s in found]
    for each in specs:
        title = f"{name} on {each.kind} {each.shape}{' with gaps' if each.has_gaps else ''}"
        keep_promises(title, EncoderSubject(build, each), ENCODER_CHECKS)


Make = Callable[..., Encoder]


def _accepts(make: Make, spec: ModalitySpec) -> Encoder | None:
    try:
        return make(spec)
    except ConfigError:
        return None
    except DataError:
        if spec.shape:
            raise
        return None  # an encoder of arrays asked raw media for their width


def _taken(make: Make) -> dict[Kind, list[ModalitySpec]]:
    """The specs that it takes, by kind; it need not take a kind in every form."""
    found = {k: [s for s in specs if _accepts(make, s) is not None] for k, specs in SPECS.items()}
    return {kind: specs for kind, specs in found.items() if specs}


def kinds_are_declared(make: Make) -> None:
    """``kinds`` names what the encoder takes, and it refuses the rest with ConfigError."""
    taken = _taken(make)
    require(bool(taken), f"an encoder that takes none of {list(SPECS)}")
    encoder = _accepts(make, next(iter(taken.values()))[0])
    require(isinstance(encoder, Encoder), f"a {type(encoder).__name__}, which is no Encoder")
    assert encoder is not None
    require(encoder.kinds == set(taken), f"kinds {set(encoder.kinds)}, but it takes {set(taken)}")


@dataclass(frozen=True)
class EncoderSubject:
    """How to build one encoder for one kind of input, and the rows that it is run on."""

    make: Make
    spec: ModalitySpec

    def build(self, dtype: torch.dtype = torch.float64) -> Encoder:
        """A fresh encoder in eval mode, its weights stirred."""
        encoder = self.make(self.spec)
        stirred(encoder)
        return encoder.to(dtype).eval()

    def rebuilt(self, module: Encoder) -> nn.Module:
        """The encoder from its description."""
        return rebuild(describe(module, without=("spec",)), self.spec, base=Encoder)

    def input(self, encoder: Encoder, dtype: torch.dtype = torch.float64) -> RawInput:
        """The preprocessed sample: the same at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(2)
            return as_dtype(encoder.preprocess(sample_raw(self.spec)), dtype)

    def outputs(
        self, module: Encoder, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> dict[str, Tensor]:
        """The real tokens and their mask."""
        return real(module(self.input(module, dtype).to(device)))


def real(output: Tensor | Tokens) -> dict[str, Tensor]:
    """An encoder's tokens, zero where the mask says none is, and the mask."""
    tokens = Tokens.of(output)
    every = tokens.mask.new_ones(len(tokens))
    return {"values": tokens.keep(every).values, "mask": tokens.mask}


def declared_width(subject: EncoderSubject) -> None:
    """It gives (B, out_dim), or Tokens (B, T, out_dim) with at least one real token a row."""
    encoder = subject.build()
    x = subject.input(encoder)
    rows = len(x)
    tokens = Tokens.of(encoder(x))
    shape, mask = tuple(tokens.values.shape), tokens.mask
    require(len(shape) == 3 and shape[0] == rows, f"tokens {shape} for {rows} rows")
    require(shape[2] == encoder.out_dim, f"tokens {shape} with out_dim {encoder.out_dim}")
    require(
        mask.shape == shape[:2] and mask.dtype == torch.bool,
        f"a {mask.dtype} mask {tuple(mask.shape)} for tokens {shape}",
    )
    require(mask.any(dim=1).all(), "a row without any real token")
    require_finite(real(tokens), "in eval mode")


def row_by_row(subject: EncoderSubject) -> None:
    """In eval mode a batch equals its rows one at a time: no row changes another's tokens."""
    encoder = subject.build()
    x = subject.input(encoder)
    whole = encoder(x)
    for i in range(len(x)):
        row = torch.tensor([i])
        one = x.rows(row) if isinstance(x, Tokens) else x[row]
        alone = Tokens.of(encoder(one)).pooled()
        expected = {"pooled": Tokens.of(whole).rows(row).pooled()}
        require_equal({"pooled": alone}, expected, f"for row {i} alone", ROUNDING)


def padding_means_nothing(subject: EncoderSubject) -> None:
    """What stands under padding changes no token and no gradient; its length changes nothing."""
    encoder = subject.build()
    x = subject.input(encoder)
    if not isinstance(x, Tokens):
        return
    expected = _trace(encoder, x)
    for garbage in GARBAGE if x.values.is_floating_point() else (0, 1, int(x.values.max())):
        blank = ~x.mask.view(*x.mask.shape, *[1] * (x.values.dim() - 2))
        spoilt = Tokens(x.values.masked_fill(blank, garbage), x.mask)
        require_equal(_trace(encoder, spoilt), expected, f"with {garbage} under padding")
    for i in range(len(x)):
        row = torch.tensor([i])
        length = int(x.mask[i].nonzero().max()) + 1
        short = Tokens(x.values[row, :length], x.mask[row, :length])
        found = {"pooled": Tokens.of(encoder(short)).pooled()}
        padded = {"pooled": Tokens.of(encoder(x.rows(row))).pooled()}
        require_equal(found, padded, f"for row {i} without its padding", ROUNDING)


def _trace(encoder: Encoder, x: RawInput) -> dict[str, Tensor]:
    outputs = real(encoder(x))
    return {**{n: v.detach() for n, v in outputs.items()}, **gradients(outputs, encoder)}


def only_the_present_are_computed(subject: EncoderSubject) -> None:
    """In a FusionModel it sees the present rows alone, and what stands elsewhere means nothing."""
    model = _model(subject)
    x = subject.input(model.encoders["x"])  # type: ignore[arg-type]
    seen: list[int] = []
    model.encoders["x"].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for present in (torch.arange(len(x)) % 2 == 0, torch.arange(len(x)) < 0):
        seen.clear()
        batch = Batch(("x",), {"x": x}, present.unsqueeze(1))
        expected = dict(model(batch).logits)
        count = int(present.sum())
        require(sum(seen) == count, f"{sum(seen)} rows computed of which {count} are present")
        require_finite(expected, "in a batch with absent rows")
        for garbage in GARBAGE:
            found = model(spoilt_batch(batch, garbage)).logits
            require_equal(found, expected, f"with {garbage} in absent rows")


def _model(subject: EncoderSubject) -> FusionModel:
    encoder = subject.build()
    spec = DataSpec({"x": subject.spec}, {"y": TargetSpec("regression")})
    fusion = ConcatFusion({"x": encoder.out_dim}, out_dim=3, hidden=0)
    return FusionModel(spec, {"x": encoder}, fusion).double().eval()


def freezing_holds(subject: EncoderSubject) -> None:
    """Frozen, it stays in eval mode, records no gradient and keeps every weight and buffer."""
    encoders = [subject.build().freeze()]
    if (made := _frozen(subject)) is not None:
        encoders.append(made)
    for encoder in encoders:
        learning = [n for n, p in encoder.named_parameters() if p.requires_grad]
        require(not learning, f"frozen, {learning} still require a gradient")
        require(not any(m.training for m in encoder.modules()), "frozen, a part in training mode")
        encoder.train()
        require(not any(m.training for m in encoder.modules()), "train() woke a frozen encoder")
        before = copy.deepcopy(dict(encoder.state_dict()))
        encoder(subject.input(encoder))
        require_equal(dict(encoder.state_dict()), before, "in a frozen encoder")


def _frozen(subject: EncoderSubject) -> Encoder | None:
    try:
        return subject.make(subject.spec, frozen=True).double()
    except TypeError:  # a factory that decides for itself
        return None


#: The promises of an encoder, in the order in which they are checked.
ENCODER_CHECKS = (
    declared_width,
    row_by_row,
    padding_means_nothing,
    only_the_present_are_computed,
    freezing_holds,
    *MODULE_CHECKS,
    gradient_is_right,
)
