"""Builds a FusionModel from a DataSpec and what a person wrote for encoders and fusion."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.features.cached import in_place_of, raw_spec
from mmfuse.fusion.base import Fusion
from mmfuse.model import FusionModel
from mmfuse.recorded import factory
from mmfuse.registry import known
from mmfuse.spec import DataSpec, ModalitySpec

EncoderFactory = Callable[[ModalitySpec], Encoder]
FusionFactory = Callable[[dict[str, int]], Fusion]


def default_encoder(name: str, spec: ModalitySpec) -> type[Encoder]:
    """The encoder class that serves a kind of input when nobody names one.

    Raises:
        ConfigError: no known encoder is the default for the kind.
    """
    for cls in known(Encoder).values():
        # Its own claim, not an inherited one: a variant of the default must not replace it.
        if spec.kind in cls.__dict__.get("default_for", ()):
            return cls
    raise ConfigError(f"Modality {name!r} ({spec.kind}) has no default encoder; name one.")


def build_model(
    spec: DataSpec,
    encoders: Mapping[str, EncoderFactory | str | Mapping[str, Any]] | None,
    fusion: FusionFactory | str | Mapping[str, Any],
    cached: Mapping[str, str] | None = None,
) -> FusionModel:
    """Encoders for the modalities of ``spec``, then the fusion for their widths.

    Args:
        spec: modalities and targets.
        encoders: for each modality a class, a partial, a name, or class_path and init_args; the
            key ``"*"`` stands for every modality without a key of its own. None takes the default
            of each kind. The fusion order is this mapping's.
        fusion: likewise.
        cached: the folder of each modality whose extracted features are in ``spec`` in place
            of raw rows; its encoder is built too, and compared with the one that made them.

    Raises:
        UnknownModalityError: encoders and data name different modalities.
        ConfigError: a name that means nothing, options that a class refuses, or features for
            an encoder that learns.
        CheckpointError: features of another encoder.
    """
    built = encoders_for(spec, encoders, cached or {})
    dims = {m: e.out_dim for m, e in built.items()}
    return FusionModel(spec, built, fused(fusion, dims))


def fused(fusion: FusionFactory | str | Mapping[str, Any], dims: dict[str, int]) -> Fusion:
    """The fusion that a person named, for encoders of these widths; errors as ``build_model``."""
    made: Fusion = _called(factory(Fusion, fusion), dims, "Fusion")
    return made


def encoders_for(
    spec: DataSpec,
    encoders: Mapping[str, EncoderFactory | str | Mapping[str, Any]] | None,
    cached: Mapping[str, str],
) -> dict[str, Encoder]:
    """An encoder for each modality, extracted features in the place of those that are cached.

    Arguments and errors as ``build_model``.
    """
    if not cached:
        return build_encoders(spec, encoders)
    return in_place_of(build_encoders(raw_spec(spec, cached), encoders), spec, cached)


def build_encoders(
    spec: DataSpec, encoders: Mapping[str, EncoderFactory | str | Mapping[str, Any]] | None
) -> dict[str, Encoder]:
    """An encoder for each modality of ``spec``; arguments and errors as ``build_model``."""
    if encoders is None:
        encoders = {m: default_encoder(m, s) for m, s in spec.modalities.items()}
    encoders = _spelt_out(encoders, spec)
    if set(encoders) != set(spec.modalities):
        raise UnknownModalityError(
            f"Encoders are named for {list(encoders)}, the data has {list(spec.modalities)}. "
            f"{_hint(encoders, spec)}Name one encoder for each modality of the data."
        )
    return {
        m: _called(factory(Encoder, e), spec.modalities[m], f"Encoder of {m!r}")
        for m, e in encoders.items()
    }


def _spelt_out(encoders: Mapping[str, Any], spec: DataSpec) -> dict[str, Any]:
    """Each modality by its name, in place of ``"*"``."""
    found: dict[str, Any] = {}
    for name, encoder in encoders.items():
        others = [m for m in spec.modalities if m not in encoders]
        found |= dict.fromkeys(others, encoder) if name == "*" else {name: encoder}
    return found


def _hint(encoders: Iterable[str], spec: DataSpec) -> str:
    unknown = [m for m in encoders if m not in spec.modalities]
    nearest = {m: difflib.get_close_matches(m, spec.modalities, n=1) for m in unknown}
    return "".join(f"{m!r} may be {found[0]!r}. " for m, found in nearest.items() if found)


def _called(make: Callable[..., Any], argument: Any, what: str) -> Any:
    try:
        return make(argument)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ConfigError(f"{what}: {error}. Check its options.") from error
