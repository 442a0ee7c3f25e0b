"""Queries: an item that is not among the features -> a vector in one of their spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from mmfuse import checkpoint
from mmfuse.batch import Batch
from mmfuse.encoder import Encoder
from mmfuse.errors import CheckpointError, ConfigError, DataError, UnknownModalityError
from mmfuse.features import fingerprint
from mmfuse.features.columns import FUSED, Vectors, compute
from mmfuse.features.extractor import Extractor
from mmfuse.features.pretrained import partner
from mmfuse.media import Sound, Video, decode_image, decode_sound
from mmfuse.media.image import to_rgb
from mmfuse.model import FusionModel, Towers
from mmfuse.recorded import rebuild
from mmfuse.spec import DataSpec, ModalitySpec


def embed(
    extractor: Extractor, items: Mapping[str, Sequence[Any]], column: str | None = None
) -> Tensor:
    """Vectors of a few items, as the extractor would write them.

    Args:
        extractor: around a model or encoders.
        items: for each modality of the query its values: strings; PIL images, ``Sound``,
            ``Video``, or files of them; rows of numbers for arrays.
        column: a modality, or ``fused`` for what a model makes of the items with every other
            modality absent; the only modality by default.

    Shape:
        Q values a modality -> (Q, D) float32

    Raises:
        UnknownModalityError: the extractor has no such modality.
        ConfigError: a column that cannot be made of these items.
        DataError: an item that cannot be read, or unequally many.

    Example:
        >>> from mmfuse_encoders import MLPEncoder
        >>> embed(Extractor({"a": MLPEncoder(2, out_dim=4)}), {"a": [[1.0, 2.0]]}).shape
        torch.Size([1, 4])
    """
    model, device = extractor.model, extractor.device
    if unknown := [m for m in items if m not in model.modalities]:
        raise UnknownModalityError(f"The model reads {list(model.modalities)}, not {unknown}.")
    column = next(iter(items)) if column is None and len(items) == 1 else column
    able = [*items, *([FUSED] if isinstance(model, FusionModel) else [])]
    if column not in able:
        raise ConfigError(f"column is {column!r}; of these items there is {', '.join(able)}.")
    if len(sizes := {len(values) for values in items.values()}) != 1 or 0 in sizes:
        raise DataError(
            f"The query has { {m: len(v) for m, v in items.items()} } items; expected one number "
            "of them, from 1 up."
        )
    inputs = {
        m: model.preprocess[m](_raw(m, model.spec.modalities[m], v)) for m, v in items.items()
    }
    batch = Batch(tuple(items), inputs, torch.ones(*sizes, len(items), dtype=torch.bool))
    model.spec.check(batch)
    is_mixed = extractor.precision == "bf16-mixed"
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=is_mixed),
    ):
        found = compute(model, batch.to(device), [column])[column]
    vectors = cast(Vectors, found).to(torch.float32)
    if not vectors.present.all():
        raise DataError(f"There is nothing in the query's {column!r} to encode.")
    return vectors.values.clone()


def extractor_for(
    manifest: Mapping[str, Any], modality: str, column: str, ckpt_path: str | Path | None = None
) -> Extractor:
    """The model that made features, as far as it takes to query them with an item.

    Args:
        manifest: of the features.
        modality: what the query is.
        column: what it is to be compared with: a modality, or ``fused``.
        ckpt_path: of the trained model. Without it the encoder of ``modality`` is built anew,
            which suits pretrained ones; where the features lack that modality, the other
            tower of the pretrained model behind ``column`` is.

    Raises:
        CheckpointError: the weights are not those that made the features.
        ConfigError: a checkpoint is needed, or there is no encoder for the modality.
        UnknownModalityError: the checkpoint's model lacks the modality.
    """
    made = manifest["encoders"]
    if ckpt_path is not None:
        model = checkpoint.load(ckpt_path)
        if column == FUSED:
            found = fingerprint.of_module(model, model.describe())
            _require(found == manifest["model"]["fingerprint"], str(ckpt_path), "a model")
        if modality not in model.encoders:
            raise UnknownModalityError(
                f"The model in {ckpt_path} reads {list(model.modalities)}, not {modality!r}."
            )
        for m in {modality, column} & set(made):
            _require(_is_same(model.encoders[m], made[m]), str(ckpt_path), f"an encoder of {m!r}")
        return Extractor(model)
    if column == FUSED:
        raise ConfigError(
            "The fused vector of a query takes the model that made the features. Give its "
            "checkpoint with --ckpt_path."
        )
    described = manifest["model"]["description"]
    spec = DataSpec.from_dict(described["spec"])
    source = modality if modality in made else column
    encoder = rebuild(described["encoders"][source], spec.modalities[source], base=Encoder)
    if not _is_same(encoder, made[source]):
        raise CheckpointError(
            f"The encoder of {source!r} that made the features had other weights than the one "
            "that can be built now. If it was trained, give its checkpoint with --ckpt_path; if "
            "it was pretrained, put the same weights back where they were."
        )
    if source == modality:
        modalities = {modality: spec.modalities[modality]}
        return Extractor(Towers(DataSpec(modalities), {modality: encoder}))
    other = partner(described["encoders"][source], modality)
    if other is None:
        raise ConfigError(
            f"The features have {list(made)}, and no encoder for a query of {modality!r}. Query "
            "by --row, or extract features of that modality too."
        )
    return Extractor({modality: other})


def _is_same(encoder: Any, made: Mapping[str, Any]) -> bool:
    return fingerprint.of_encoder(encoder) == made["fingerprint"]


def _require(holds: bool, ckpt_path: str | Path, what: str) -> None:
    if not holds:
        raise CheckpointError(
            f"{ckpt_path} holds {what} with other weights than what made the features. Give the "
            "checkpoint that they were extracted with."
        )


def _raw(name: str, spec: ModalitySpec, values: Sequence[Any]) -> Any:
    """What a data set hands to the encoder's ``preprocess``."""
    if spec.kind == "text":
        return list(values)
    if spec.shape:
        try:
            rows = torch.as_tensor(values, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{name!r} is {spec.kind} in numbers of shape {spec.shape}, which a query must "
                f"hold as they are: {error}."
            ) from error
        spec.check(name, rows)
        return rows
    return [_medium(name, spec, value) for value in values]


def _medium(name: str, spec: ModalitySpec, value: Any) -> Any:
    if spec.kind == "image":
        return to_rgb(value) if isinstance(value, Image.Image) else decode_image(value)
    if spec.kind == "video":
        return value if isinstance(value, Video) else Video(value)
    sound = value if isinstance(value, Sound) else decode_sound(value)
    if spec.rate not in (0, sound.rate):
        raise DataError(
            f"The query's {name!r} has {sound.rate} samples a second; the model takes {spec.rate}. "
            "Resample it."
        )
    return sound
