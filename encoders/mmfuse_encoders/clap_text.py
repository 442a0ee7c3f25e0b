"""Encoder for texts around CLAP, whose texts and sounds share a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders import clap
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.pretrained import fixed_draw
from mmfuse_encoders.tokenized_text import TokenizedTextEncoder


class ClapTextEncoder(TokenizedTextEncoder):
    """Text tower of a CLAP model of Hugging Face transformers, by its name or from a folder.

    The vector lies in the space of ``ClapAudioEncoder``'s, not normalised. Texts longer than
    ``max_tokens`` are cut: a warning says so the first time, ``texts`` and ``texts_cut``
    count what this process has seen and cut. A checkpoint of mmfuse carries architecture and
    tokenizer, so that it needs neither folder nor hub.

    Args:
        spec: a text modality.
        model: a name on the hub (kept in HF_HOME), or a folder that ``save_pretrained`` wrote.
        max_tokens: longest text, special tokens included; None for the model's own limit, at
            most 512.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; nothing by default.
        config: the architecture, which the encoder fills in itself for its checkpoint.
        tokenizer: the tokenizer as JSON, which the encoder fills in itself too.

    Shape:
        preprocess: B strings -> Tokens, values (B, T) long
        forward: Tokens, values (B, T) long -> (B, out_dim)

    Raises:
        MissingFileError: no such folder, a folder without weights or tokenizer, or a name
            that is not in the cache and cannot be downloaded.
        CheckpointError: the weights are damaged, or weights, tokenizer and architecture are
            not those of one model.
        ConfigError: transformers is not installed, the model is no CLAP, or it does not take
            texts of this length.
        DataError: from ``preprocess``, a row that is no string, or holds half a character.

    Reference: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature
        Fusion and Keyword-to-Caption Augmentation", ICASSP 2023, arXiv:2211.06687.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "laion/clap-htsat-unfused",
        max_tokens: int | None = None,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        config: Mapping[str, Any] | None = None,
        tokenizer: str = "",
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        config = config or clap.read_config(model, "text_config")
        with fixed_draw():
            network: Any = (
                clap.load(model, "ClapTextModelWithProjection", config)
                if needs_pretrained_weights()
                else clap.build("ClapTextModelWithProjection", config)
            )
        self._tokenize(model, tokenizer, max_tokens, network)
        self._arguments |= {
            "config": config,
            "tokenizer": self.tokenizer.to_str(),
            "max_tokens": self.max_tokens,
        }
        layers = network.text_model.encoder.layer
        self._adopt(network, network.config.projection_dim, list(layers))

    def features(self, x: Tokens) -> Tensor:
        """The projected vector."""
        ids = x.values.masked_fill(~x.mask, self._padding)
        return self.backbone(input_ids=ids, attention_mask=x.mask.long()).text_embeds
