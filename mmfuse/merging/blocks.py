"""merge_blocks: MM-Lego blocks that were trained alone become one model."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmfuse.checkpoint import load
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import Fusion, LegoFusion
from mmfuse.merging.sphere import MEANS, Mean
from mmfuse.model import FusionModel
from mmfuse.recorded import describe, factory
from mmfuse.spec import DataSpec, TargetSpec


def merge_blocks(
    blocks: Sequence[FusionModel | str | Path],
    fusion: Callable[..., Fusion] | str | Mapping[str, Any] = "LegoMergeFusion",
    heads: Mean = "slerp",
    weights: Mapping[str, float] | None = None,
) -> FusionModel:
    """Joins models of one modality each, without training, into one of all their modalities.

    Encoders and blocks are taken as they are. ``LegoMergeFusion`` merges the latents of all
    blocks and is ready; ``LegoStackFusion`` and ``LegoWeaveFusion`` start at the first block's
    latent and want a few epochs of training. Heads, and the norm before them, become one by a
    mean of their weights.

    Args:
        blocks: models or checkpoints, in fusion order; each has one modality and one of the
            Lego fusions, all of the same size, and the same targets.
        fusion: the kind, given as for ``SupervisedTask``; its size is that of the blocks.
        heads: ``slerp`` interpolates on the sphere from one to the next, ``karcher`` takes
            the mean on the sphere, which has no order, ``linear`` the plain mean.
        weights: each modality's weight, above 0, for heads and latents; 1 for all if None.

    Returns:
        a model in eval mode that ``mmfuse.save`` writes, and a task trains on after
        ``task.build(model)``. Nothing in it is shared with the blocks. A target's statistics
        (class weights, a mean and a deviation) are those of the first block.

    Raises:
        ConfigError: a model that is no single block, blocks of unequal size or with unequal
            targets, an unknown mean, or a fusion that is not made of blocks.
        UnknownModalityError: weights for other modalities than the blocks'.
        MissingFileError, CheckpointError: as ``mmfuse.load``.

    Reference:
        Hemker et al., "Multimodal Lego: Model Merging and Fine-Tuning Across Topologies and
        Modalities in Biomedicine", ICLR 2025, arXiv:2405.19950, section 3.

    Departs from the authors' code: any number of blocks; an interpolated head keeps the
    length of its weights, and a bias of length zero is no division by zero.
    """
    if heads not in MEANS:
        raise ConfigError(f"heads is {heads!r}; expected one of {', '.join(MEANS)}.")
    parts = _checked([load(b) if isinstance(b, str | Path) else b for b in blocks])
    if weights is not None and weights.keys() != parts.keys():
        raise UnknownModalityError(
            f"Weights are given for {sorted(weights)}; the blocks read {list(parts)}. Give one "
            "for each."
        )
    if weights is not None and min(weights.values()) <= 0:
        raise ConfigError(f"weights are {dict(weights)}; expected numbers above 0.")
    models = list(parts.values())
    first = models[0]
    spec = DataSpec({m: p.spec.modalities[m] for m, p in parts.items()}, first.spec.targets)
    joined = _fusion(fusion, parts, weights)
    encoders = {m: cast(Encoder, copy.deepcopy(p.encoders[m])) for m, p in parts.items()}
    model = FusionModel(spec, encoders, joined)
    fusions = [_lego(p) for p in models]
    counts = weights or dict.fromkeys(parts, 1.0)
    shares = [counts[m] / sum(counts.values()) for m in parts]

    def mean(*modules: nn.Module) -> dict[str, Tensor]:
        """The merged weights of modules that are alike."""
        states = [m.state_dict() for m in modules]
        return {k: MEANS[heads]([s[k] for s in states], shares) for k in states[0]}

    with torch.no_grad():
        for m, own in zip(parts, fusions, strict=True):
            joined.blocks[m].load_state_dict(own.blocks[m].state_dict())
        latents = torch.cat([own.latent for own in fusions])
        joined.latent.copy_(latents[: len(joined.latent)])
        joined.prior.copy_(MEANS["linear"]([own.prior for own in fusions], shares))
        joined.norm.load_state_dict(mean(*(own.norm for own in fusions)))
        model.heads.load_state_dict(mean(*(p.heads for p in models)))
    return model.eval()


def start_alike(blocks: Sequence[FusionModel]) -> None:
    """Gives untrained blocks the weights that the first starts with; encoders keep their own.

    Latents, norm and heads, and what else of a block has the same shape. Blocks that start
    alike and then train alone stay closer to each other, without which the product merges to
    noise; what the other rules gain is small: see ``experiments/lego``.

    Args:
        blocks: models of one modality each, changed in place.

    Raises:
        ConfigError: as ``merge_blocks``.
    """
    first, *others = _checked(list(blocks)).values()
    with torch.no_grad():
        for other in others:
            for module, same in ((other.fusion, first.fusion), (other.heads, first.heads)):
                _copy_where_alike(module, same)
            (own,), (given,) = (_lego(m).blocks.values() for m in (other, first))
            _copy_where_alike(own, given)


def _copy_where_alike(module: nn.Module, source: nn.Module) -> None:
    given = dict(source.named_parameters())
    for name, value in module.named_parameters():
        if name in given and given[name].shape == value.shape:
            value.copy_(given[name])


def _checked(models: list[FusionModel]) -> dict[str, FusionModel]:
    """The models by modality, all fit to be merged."""
    if not models:
        raise ConfigError("There is no block to merge. Give models of one modality each.")
    parts: dict[str, FusionModel] = {}
    for model in models:
        if not isinstance(model.fusion, LegoFusion) or len(model.modalities) != 1:
            raise ConfigError(
                f"A model of {list(model.modalities)} with {type(model.fusion).__name__} is no "
                "single Lego block. Train each modality alone with fusion LegoMergeFusion."
            )
        (modality,) = model.modalities
        if modality in parts:
            raise ConfigError(
                f"Two blocks read {modality!r}. Give one block for each modality; models of the "
                "same modality and architecture merge by their weights."
            )
        parts[modality] = model
    (name, first), *others = parts.items()
    for other, model in others:
        if (ours := _lego(first).size) != (theirs := _lego(model).size):
            raise ConfigError(
                f"Blocks differ in size: {name!r} has {ours}, {other!r} has {theirs}. Train "
                "them with the same options."
            )
        if _targets(first) != _targets(model):
            raise ConfigError(
                f"Blocks predict different things: {name!r} {_targets(first)}, {other!r} "
                f"{_targets(model)}. Train them on the same targets."
            )
    return parts


def _fusion(
    fusion: Any, parts: Mapping[str, FusionModel], weights: Mapping[str, float] | None
) -> LegoFusion:
    """The fusion of all modalities, of the blocks' size and with fresh weights."""
    make = factory(Fusion, fusion)
    cls = make.func if isinstance(make, functools.partial) else make
    if not (isinstance(cls, type) and issubclass(cls, LegoFusion)):
        raise ConfigError(
            f"Blocks cannot become a {getattr(cls, '__name__', cls)}; expected LegoMergeFusion, "
            "LegoStackFusion or LegoWeaveFusion."
        )
    # As they were written, so that the same configuration fits blocks and what they become.
    first = describe(_lego(next(iter(parts.values()))), without=("dims", "rule", "weights"))
    options = dict(first["init_args"])
    if weights is not None and "weights" in inspect.signature(cls).parameters:
        options["weights"] = dict(weights)
    return cast(LegoFusion, make({m: p.dims[m] for m, p in parts.items()}, **options))


def _lego(model: FusionModel) -> LegoFusion:
    return cast(LegoFusion, model.fusion)


def _targets(model: FusionModel) -> dict[str, TargetSpec]:
    """The targets without what training rows left in them."""
    return {
        name: replace(target, weights=(), mean=(), std=())
        for name, target in model.spec.targets.items()
    }
