"""CachedEncoder: features that a frozen encoder made stand in for it in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from mmfuse.encoder import Encoder
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.features.fingerprint import of_encoder
from mmfuse.recorded import factory
from mmfuse.spec import DataSpec, ModalitySpec
from mmfuse.store import FeatureFolder
from mmfuse.tokens import Tokens


class CachedEncoder(Encoder):
    """Passes on features that a frozen encoder made before.

    Args:
        spec: vectors, or tokens.
        fingerprint: of the encoder that made them, for the record.

    Shape:
        (B, D) or Tokens (B, T, D) -> the same
    """

    kinds = frozenset({"vector", "tokens"})

    def __init__(
        self, spec: ModalitySpec | int | Sequence[int | None], fingerprint: str = ""
    ) -> None:
        super().__init__(spec, ModalitySpec.of(spec).width, frozen=True)

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """The rows as they are."""
        if isinstance(x, Tokens) or x.ndim == 2:
            return x
        return Tokens(x, x.new_ones(x.shape[:2]).bool())


def in_place_of_encoders(
    encoders: Mapping[str, Any] | None, cached: Mapping[str, str]
) -> Mapping[str, Any] | None:
    """The encoders with ``CachedEncoder`` where the data holds features in place of raw rows.

    Args:
        encoders: as ``build_model`` takes them.
        cached: the folder of each modality that is cached.

    Raises:
        ConfigError: no encoder is named for the modality, or it is not frozen.
        CheckpointError: the features were made by another encoder.
    """
    if not cached:
        return encoders
    found = dict(encoders or {})
    for m, path in cached.items():
        if m not in found:
            raise ConfigError(
                f"Modality {m!r} is cached in {path}, and no encoder is named for it. Name the "
                "one that made the features."
            )
        manifest = FeatureFolder(path).manifest()
        raw = DataSpec.from_dict(manifest["spec"]).modalities[m]
        encoder = factory(Encoder, found[m])(raw)
        made_by = manifest["encoders"][m]["fingerprint"]
        if not encoder.frozen:
            raise ConfigError(
                f"The encoder of {m!r} learns, so features cannot stand in for it. Freeze it, or "
                "leave cached out."
            )
        if of_encoder(encoder) != made_by:
            raise CheckpointError(
                f"The features of {m!r} in {path} were made by another encoder: another class, "
                "other options or other weights. Extract them with the encoder that is named."
            )
        columns = manifest["columns"]
        if f"{m}.tokens" not in columns and columns[m]["is_mean"]:
            raise ConfigError(
                f"The encoder of {m!r} gives tokens, and {path} holds their mean alone. Extract "
                f"{m}.tokens too."
            )
        found[m] = partial(CachedEncoder, fingerprint=made_by)
    return found
