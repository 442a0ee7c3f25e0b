"""CLAP models of Hugging Face transformers: their parts from a folder or the hub, or plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from mmfuse.errors import CheckpointError, ConfigError
from mmfuse_encoders import huggingface

# What of a feature extractor decides on the features.
_SETTINGS = (
    "feature_size",
    "sampling_rate",
    "hop_length",
    "max_length_s",
    "fft_window_size",
    "padding_value",
    "frequency_min",
    "frequency_max",
    "top_db",
    "truncation",
    "padding",
)
# Of the machine that wrote the files, or of another use of the model.
_NOT_ARCHITECTURE = (
    "_name_or_path",
    "architectures",
    "transformers_version",
    "dtype",
    "id2label",
    "label2id",
    "problem_type",
)


def read_config(model: str, tower: str) -> dict[str, Any]:
    """The architecture of one tower, in plain data.

    Args:
        model: a folder, or a name on the hub.
        tower: ``audio_config`` or ``text_config``.

    Raises:
        MissingFileError: no such folder, or a name that cannot be had from the hub.
        ConfigError: transformers is not installed, or the model is no CLAP.
    """
    huggingface.refuse_missing(model)
    with huggingface.loading(model) as transformers:
        found = transformers.AutoConfig.from_pretrained(model, trust_remote_code=False)
    if found.model_type != "clap":
        raise ConfigError(f"{model} is a {found.model_type}, not a CLAP. Give a CLAP model.")
    plain = json.loads(getattr(found, tower).to_json_string(use_diff=False))
    return {k: v for k, v in plain.items() if k not in _NOT_ARCHITECTURE}


def read_extractor(model: str) -> dict[str, Any]:
    """The settings of a model's feature extractor, in plain data.

    Raises:
        MissingFileError: there is none.
    """
    with huggingface.loading(model) as transformers:
        found = transformers.ClapFeatureExtractor.from_pretrained(model)
    return {name: getattr(found, name) for name in _SETTINGS}


def extractor(settings: Mapping[str, Any]) -> Any:
    """A feature extractor that gives each sound one log-mel spectrogram."""
    with huggingface.loading("a CLAP's feature extractor") as transformers:
        made = transformers.ClapFeatureExtractor(**settings)
    if settings["truncation"] == "fusion":
        # It would pick a row of the batch at random to pass for a longer sound. The other way
        # differs in its mel filters alone, and those are what the model was trained with.
        made.mel_filters_slaney = made.mel_filters
    return made


def build(cls: str, config: Mapping[str, Any]) -> nn.Module:
    """One tower with its projection, with weights drawn at random."""
    with huggingface.loading("a CLAP") as transformers:
        made = transformers.AutoConfig.for_model(**config)
        return getattr(transformers, cls)(made)


def load(model: str, cls: str, config: Mapping[str, Any]) -> nn.Module:
    """One tower with its projection and its weights in float32, read without unpickling code.

    Raises:
        MissingFileError: there are no weights.
        CheckpointError: the weights are damaged, or are not those of the architecture.
    """
    network, missing = huggingface.read_weights(model, cls, config)
    if missing:
        raise CheckpointError(
            f"The weights of {model} are not those of a {cls}: {len(missing)} are missing, "
            f"{missing[0]} among them. Give the files of one model."
        )
    return network
