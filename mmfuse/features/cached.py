"""CachedEncoder: features that a frozen encoder made stand in for it in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from mmfuse.encoder import Encoder
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.features.fingerprint import of_encoder
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


def raw_spec(spec: DataSpec, cached: Mapping[str, str]) -> DataSpec:
    """What the data looked like before features took the place of raw modalities.

    Args:
        spec: of the data with features.
        cached: the folder of each modality that is cached.
    """
    before = {
        m: DataSpec.from_dict(FeatureFolder(path).manifest()["spec"]).modalities[m]
        for m, path in cached.items()
    }
    return replace(spec, modalities={**spec.modalities, **before})


def in_place_of(
    encoders: Mapping[str, Encoder], spec: DataSpec, cached: Mapping[str, str]
) -> dict[str, Encoder]:
    """The encoders with ``CachedEncoder`` where the data hold features in place of raw rows.

    Args:
        encoders: built for the raw rows.
        spec: of the data with features.
        cached: the folder of each modality that is cached.

    Raises:
        ConfigError: an encoder is not frozen, or gives tokens of which the folder has the mean.
        CheckpointError: the features were made by another encoder.
    """
    found = dict(encoders)
    for m, path in cached.items():
        manifest, encoder = FeatureFolder(path).manifest(), encoders[m]
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
        found[m] = CachedEncoder(spec.modalities[m], made_by)
    return found
