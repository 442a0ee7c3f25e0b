"""OpenClipTextEncoder: the text tower of any open_clip model, its vector or its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.huggingface import blocks_of
from mmfuse_encoders.open_clip_model import build, has_random_weights, tokenizer_of
from mmfuse_encoders.pictures import chosen
from mmfuse_encoders.pretrained import PretrainedEncoder, fixed_draw
from mmfuse_encoders.strings import CutTexts, checked


class OpenClipTextEncoder(CutTexts, PretrainedEncoder):
    """The text tower of an open_clip model.

    The vector is ``encode_text`` of the model: projected into the space shared with pictures,
    and not normalised. The model's own tokenizer makes the tokens, as many as its context
    holds; longer texts are cut. A warning says so the first time; ``texts`` and ``texts_cut``
    count what this process has seen and cut.

    Args:
        spec: a text modality.
        model: as for ``OpenClipImageEncoder``.
        pretrained: as for ``OpenClipImageEncoder``; None for random weights, of which every
            number is that of a random-weight encoder.
        out_dim: width of the result through a linear readout; None for the tower's own.
        adapter: what of the tower learns; ``Frozen()`` by default.
        tokens: give every token's state, unprojected.
        layers: blocks to read instead of the end, from 0, without the last normalisation;
            several lie side by side. The vector is then the state of the token by which the
            tower pools, or the mean where it pools by another way.
        config: what the encoder read of the model and its tokenizer, kept for checkpoints in
            place of ``model``.

    Shape:
        preprocess: B strings -> Tokens, values (B, context) long
        forward: Tokens, values (B, T) long -> (B, D), or Tokens (B, context, D)

    Raises:
        ConfigError: an unknown model, tag or layer; layers of a tower from transformers, for which
            there is ``TransformersTextEncoder``.
        CheckpointError: the weights are damaged, or of another model.
        MissingFileError: weights or tokenizer are neither here nor can they be downloaded.
        DataError: from ``preprocess``, a row that is no string, or holds half a character.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", ICML 2021, arXiv:2103.00020.
    """

    kinds = frozenset({"text"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "ViT-B-32",
        pretrained: str | None = None,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        tokens: bool = False,
        layers: Sequence[int] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        with fixed_draw():
            built, config = build(model, pretrained, config, "text_cfg")
        tower: Any = built.text
        self._tokenizer, config = tokenizer_of(model, config, tower)
        self._arguments["config"] = config
        self._length = config["model_cfg"]["text_cfg"].get("context_length", 77)
        # transformers' tokenizers say what pads; open_clip's own has no such token, and 0.
        self._hugging_face = getattr(self._tokenizer, "tokenizer", None)
        self._pad = getattr(self._hugging_face, "pad_token_id", None) or 0
        self.tokens = tokens
        is_own = hasattr(tower, "token_embedding")
        blocks = tower.transformer.resblocks if is_own else blocks_of(tower)
        if layers and not is_own:
            raise ConfigError(
                f"The text tower of {model} is one of transformers. Leave `layers` empty, or use "
                "TransformersTextEncoder."
            )
        self._layers = chosen(layers, len(blocks), "The text tower")
        width = tower.output_dim
        tower.output_tokens = tokens
        if layers:
            width = tower.width * len(layers)
            tower.prune_intermediate_layers(self._layers, prune_norm=True)
        elif tokens and is_own:
            width, tower.text_projection = tower.width, None
            if tower.cls_emb is not None:
                tower.ln_final = nn.Identity()  # it would normalise the vector alone
        elif tokens:
            width, tower.proj = tower.transformer.config.hidden_size, nn.Identity()
        self._adopt(tower, width, list(blocks), has_random_weights(model, pretrained))

    def preprocess(self, raw: Any) -> Tokens:
        """Each text's tokens by number, padded to the context's length."""
        texts = [checked(text, i, type(self).__name__) for i, text in enumerate(raw)]
        self._count([self._is_too_long(text) for text in texts], self._length)
        ids = self._tokenizer(texts)
        if self._hugging_face is None:
            # Its padding is a token of its own too, so the end of the text tells.
            end = (ids == self._tokenizer.eot_token_id).int().argmax(dim=1, keepdim=True)
            return Tokens(ids, torch.arange(ids.shape[1]) <= end)
        mask = ids != self._pad
        mask[:, 0] = True
        return Tokens(ids, mask)

    def preprocessing(self) -> dict[str, Any]:
        """The tokenizer and the length of its context."""
        text = self._arguments["config"]["model_cfg"]["text_cfg"]
        name = text.get("hf_tokenizer_name") or type(self._tokenizer).__name__
        return {"tokenizer": name, "context_length": self._length}

    def _is_too_long(self, text: str) -> bool:
        # A token is one byte at least, so that most texts need no second look.
        if 2 * len(text.encode()) + 3 <= self._length:
            return False
        if self._hugging_face is None:
            return len(self._tokenizer.encode(text)) + 2 > self._length
        is_clips = self._tokenizer.tokenizer_mode == "clips"
        clean = self._tokenizer.clean_fn(text)
        found = self._hugging_face(clean, add_special_tokens=not is_clips, verbose=False)
        return len(found.input_ids) + 3 * is_clips > self._length

    def features(self, x: Tokens) -> Tensor | Tokens:
        """The tower's vector or states."""
        # The towers were trained on the whole context, and some read its padding.
        room = (0, self._length - x.values.shape[1])
        ids = F.pad(x.values.masked_fill(~x.mask, self._pad), room, value=self._pad)
        mask = F.pad(x.mask, room)
        if self._layers:
            states = self._states(ids)
            return Tokens(states, mask) if self.tokens else self._pooled(states, ids, mask)
        if not self.tokens:
            return self.backbone(ids)
        states = self.backbone(ids)[1]
        # A tower that pools by its first token keeps it back.
        mask = mask[:, -states.shape[1] :].clone()
        mask[:, 0] |= ~mask.any(dim=1)
        return Tokens(states, mask)

    def _states(self, ids: Tensor) -> Tensor:
        tower: Any = self.backbone
        found = tower.forward_intermediates(
            ids, indices=self._layers, intermediates_only=True, output_fmt="NLC"
        )["text_intermediates"]  # from the input to the output
        by_layer = dict(zip(sorted(set(self._layers)), found, strict=True))
        return torch.cat([by_layer[i] for i in self._layers], dim=2)

    def _pooled(self, states: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        from open_clip.transformer import text_global_pool

        tower: Any = self.backbone
        if tower.cls_emb is not None or tower.pool_type == "none":
            return Tokens(states, mask).pooled()
        return text_global_pool(states, ids, tower.pool_type, tower.eos_id)
