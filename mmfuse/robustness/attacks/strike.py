"""One attack on one batch, under every budget at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch, RawInput
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel, Towers
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.base import Attack
from mmfuse.robustness.attacks.surface import Moves, Surface, in_raw_units, surface_of
from mmfuse.robustness.attacks.threat import Threat, checked_budgets
from mmfuse.robustness.passes import evaluating
from mmfuse.tokens import Tokens

# What one call of the model may be given: rows, and numbers (64 MB of float32).
_ROWS_AT_ONCE = 4096
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Struck:
    """What an attack found on the rows of one batch.

    Args:
        budgets: ascending, E of them.
        fooled: ``(E, B)`` bool, True where the model names another class than the label; never
            for a row without a label.
        margin: ``(E, B)`` score of the strongest other class less the label's; NaN without a
            label.
        moves: for each moved modality what is added, ``(E, B, ...)``: to tokens, or to the raw
            inputs in their own units. Zero in absent slots and in rows without a label.
        batch: the rows, as they were.
        on: ``inputs`` or ``tokens``.
    """

    budgets: tuple[float, ...]
    fooled: Tensor
    margin: Tensor
    moves: Moves
    batch: Batch
    on: str

    def moved(self, budget: int) -> Batch:
        """The rows with the inputs that the attack found for budget number ``budget``.

        They serve to attack another model with what was found on this one.

        Raises:
            ConfigError: the attack was on tokens.
        """
        if self.on != "inputs":
            raise ConfigError("An attack on tokens has no inputs to show. Attack on='inputs'.")
        moved = {m: added(self.batch.inputs[m], v[budget]) for m, v in self.moves.items()}
        return replace(self.batch, inputs={**self.batch.inputs, **moved})


def strike(
    model: FusionModel,
    batch: Batch,
    attack: Attack,
    threat: Threat,
    budgets: Sequence[float],
    target: str | None = None,
) -> Struck:
    """Attacks a batch under every budget in one pass, as far as memory permits.

    The model is read in eval mode and its mode restored; parameters and their gradients stay as
    they are. Nothing in an absent slot is read or moved.

    Args:
        model: what to fool.
        batch: the rows, on the model's device, with labels.
        attack: how to search.
        threat: what may be moved.
        budgets: how far, in units of ``threat``.
        target: which of the model's targets; None where one alone has classes.

    Raises:
        ConfigError: no target with classes, a negative budget, an input that cannot be moved,
            or an encoder without a gradient.
        UnknownModalityError: a modality that the model lacks.
        DataError: the batch has no labels.

    Example:
        >>> from mmfuse import DataSpec, ModalitySpec, TargetSpec
        >>> from mmfuse.fusion import ConcatFusion
        >>> from mmfuse.robustness.attacks import PGD
        >>> from mmfuse_encoders import MLPEncoder
        >>> spec = DataSpec({"a": ModalitySpec.of(3)}, {"y": TargetSpec("binary", ("n", "y"))})
        >>> model = FusionModel(spec, {"a": MLPEncoder(3, 8)}, ConcatFusion({"a": 8}))
        >>> rows = Batch(("a",), {"a": torch.zeros(4, 3)}, torch.ones(4, 1).bool(),
        ...              torch.tensor([0, 1, 0, -1]))
        >>> strike(model, rows, PGD(steps=3), Threat(("a",)), [0.1, 1.0]).fooled.shape
        torch.Size([2, 4])
    """
    with attackable(model):
        target = class_target(model, target)
        label = targets_of(batch, model)[target]
        known = (label >= 0).nonzero().squeeze(1)
        surface = surface_of(model, batch, threat, target)
        found = struck(surface.rows(known), label[known], attack, threat, budgets)
    shape = (len(found.budgets), len(batch))
    fooled = found.fooled.new_zeros(shape).index_copy(1, known, found.fooled)
    margin = found.margin.new_full(shape, torch.nan).index_copy(1, known, found.margin)
    moves = {}
    for m, v in found.moves.items():
        raw = in_raw_units(model, m, v) if threat.on == "inputs" else v
        moves[m] = raw.new_zeros(*shape, *raw.shape[2:]).index_copy(1, known, raw)
    return replace(found, fooled=fooled, margin=margin, moves=moves, batch=batch)


def struck(
    surface: Surface, label: Tensor, attack: Attack, threat: Threat, budgets: Sequence[float]
) -> Struck:
    """``strike`` on a surface whose rows all have labels; moves stay in the surface's units."""
    budgets = checked_budgets(budgets)
    count, parts = len(budgets), []
    chunk = max(min(_NUMBERS_AT_ONCE // max(surface.numbers, 1), _ROWS_AT_ONCE) // count, 1)
    for some in torch.arange(len(surface), device=label.device).split(chunk):
        repeated = surface.rows(some.repeat(count))
        eps = torch.tensor(budgets, device=label.device, dtype=_dtype(surface))
        ball = Ball(repeated, threat, eps.repeat_interleave(len(some)))
        best = attack.search(repeated, label[some].repeat(count), ball)
        parts.append((best.fooled, best.margin, best.moves, len(some)))

    def joined(values: list[Tensor]) -> Tensor:
        spread = [
            v.view(count, rows, *v.shape[1:]) for v, (*_, rows) in zip(values, parts, strict=True)
        ]
        return torch.cat(spread, dim=1)

    nothing = Batch((), {}, surface.present.new_zeros(len(surface), 0))
    if not parts:
        empty = label.new_zeros(count, 0)
        return Struck(budgets, empty.bool(), empty.float(), {}, nothing, threat.on)
    return Struck(
        budgets,
        joined([p[0] for p in parts]),
        joined([p[1] for p in parts]),
        {m: joined([p[2][m] for p in parts]) for m in surface.parts},
        nothing,
        threat.on,
    )


@contextmanager
def attackable(model: Towers) -> Iterator[None]:
    """Inside, the model is in eval mode and gradients pass through recurrent layers on a GPU."""
    # cuDNN refuses to differentiate recurrent layers in eval mode.
    is_recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    enabled = torch.backends.cudnn.enabled and not is_recurrent
    with evaluating(model), torch.backends.cudnn.flags(enabled=enabled):
        yield


def class_target(model: FusionModel, target: str | None) -> str:
    """The target whose classes are attacked.

    Raises:
        ConfigError: it is none of the model's, has no classes that exclude each other, or is
            not named where several could be meant.
    """
    known = {t: model.spec.targets[t].kind for t in model.heads}
    able = [t for t, kind in known.items() if kind in ("binary", "multiclass")]
    if target is None and len(able) == 1:
        return able[0]
    if target in able:
        return target
    kinds = {t: s.kind for t, s in model.spec.targets.items()}
    if not able:
        raise ConfigError(
            "An attack makes the model name a wrong class, and no target of the model is binary or "
            f"multiclass: it predicts {kinds or 'none'}. Leave attacks out."
        )
    found = f"target is {target!r}" if target is not None else "no target is named"
    raise ConfigError(
        f"An attack makes the model name a wrong class of one target: {found}. Its binary and "
        f"multiclass targets are {able}. Name one of them."
    )


def _dtype(surface: Surface) -> torch.dtype:
    first: Mapping[str, Tensor] = {m: p.values for m, p in surface.parts.items()}
    return next((v.dtype for v in first.values()), torch.float32)


def added(x: RawInput, moves: Tensor) -> RawInput:
    """Inputs with something added; where nothing is, the very same bits."""
    if isinstance(x, Tokens):
        return Tokens(torch.where(moves != 0, x.values + moves, x.values), x.mask)
    return torch.where(moves != 0, x + moves, x)
