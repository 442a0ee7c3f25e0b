"""Encoder for sounds around CLAP, whose texts and sounds share a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders import clap
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.pretrained import PretrainedEncoder, fixed_draw
from mmfuse_encoders.waveform import Waveforms


class ClapAudioEncoder(PretrainedEncoder):
    """Audio tower of a CLAP model of Hugging Face transformers, by its name or from a folder.

    ``preprocess`` is the model's own feature extractor: log-mel frames of the sound, repeated
    and padded to the length that the model was built for. They are made in the data workers,
    so no gradient reaches the samples. ``ClapTextEncoder`` gives vectors in the same space.
    A checkpoint of mmfuse carries architecture and feature extractor, so that it needs
    neither folder nor hub.

    Args:
        spec: an audio modality.
        model: a name on the hub (kept in HF_HOME), or a folder that ``save_pretrained`` wrote.
        tokens: give the places of the last map as tokens, not the projected vector.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; nothing by default.
        config: the architecture, which the encoder fills in itself for its checkpoint.
        extractor: the feature extractor's settings, which it fills in itself too.

    Shape:
        preprocess: B sounds -> (B, 1, frames, mels)
        forward: (B, 1, frames, mels) -> (B, out_dim), or Tokens (B, T, out_dim)

    Raises:
        MissingFileError: no such folder, a folder without weights, or a name that is not in
            the cache and cannot be downloaded.
        CheckpointError: the weights are damaged, or are not those of the architecture.
        ConfigError: transformers is not installed, or the model is no CLAP.
        DataError: from ``preprocess``, a row that is not a Sound.

    Reference: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature
        Fusion and Keyword-to-Caption Augmentation", ICASSP 2023, arXiv:2211.06687.

    Departs from the authors' code, which draws at random what it hears of a sound longer than
    the model's length (10 s), and fuses several draws where the model was trained to: here it
    is the beginning, reported once and counted, so that a sound always has the same features.
    """

    kinds = frozenset({"audio"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "laion/clap-htsat-unfused",
        tokens: bool = False,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        config: Mapping[str, Any] | None = None,
        extractor: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        self.tokens = tokens
        # The part that fuses several draws is never reached by one.
        config = dict(config or clap.read_config(model, "audio_config")) | {"enable_fusion": False}
        self._settings = dict(extractor or clap.read_extractor(model))
        self._arguments |= {"config": config, "extractor": self._settings}
        self._extractor = clap.extractor(self._settings)
        self.waveforms = Waveforms(self._extractor.sampling_rate, self._extractor.max_length_s)
        with fixed_draw():
            network: Any = (
                clap.load(model, "ClapAudioModelWithProjection", config)
                if needs_pretrained_weights()
                else clap.build("ClapAudioModelWithProjection", config)
            )
        width = network.config.projection_dim
        if tokens:
            network = network.audio_model
            width = network.audio_encoder.num_features
        layers = [m for m in network.modules() if type(m).__name__ == "ClapAudioLayer"]
        self._adopt(network, width, layers)

    def preprocess(self, raw: Any) -> Tensor:
        """Log-mel frames of each sound."""
        sounds = self.waveforms(raw)
        rows = [
            values[mask].numpy().astype(np.float64)
            for values, mask in zip(sounds.values, sounds.mask, strict=True)
        ]
        found = self._extractor(rows, sampling_rate=self.waveforms.rate, truncation="rand_trunc")
        return torch.from_numpy(np.stack(found["input_features"])).float()

    def preprocessing(self) -> dict[str, Any]:
        """The feature extractor's settings."""
        return self.waveforms.in_words() | {"extractor": self._settings}

    def features(self, x: Tensor) -> Tensor | Tokens:
        """The projected vector, or the places of the last map."""
        found = self.backbone(input_features=x.to(next(self.backbone.parameters()).dtype))
        if not self.tokens:
            return found.audio_embeds
        places = found.last_hidden_state.flatten(2).transpose(1, 2)
        return Tokens(places, places.new_ones(places.shape[:2], dtype=torch.bool))
