"""TransformersTextEncoder: pretrained text models of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders import huggingface
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.pretrained import fixed_draw
from mmfuse_encoders.tokenized_text import TokenizedTextEncoder

Pooling = Literal["mean", "cls", "last"]


class TransformersTextEncoder(TokenizedTextEncoder):
    """Text model of Hugging Face transformers, by its name on the hub or from a folder.

    The states h_t of a layer become one vector::

        mean: z = mean of h_t over the text's tokens, special ones such as [CLS] included
        cls:  z = h of the first token
        last: z = h of the last token, which in a decoder (GPT) is the one that saw all others

    The model's own tokenizer makes the tokens. Texts longer than ``max_tokens`` are cut: a
    warning says so the first time, ``texts`` and ``texts_cut`` count what this process has
    seen and cut. An encoder-decoder (T5) gives its encoder. Weights are read as safetensors
    or as plain tensors, in float32; code that comes with a model is never run. A checkpoint
    of mmfuse carries the architecture and the tokenizer, so that it needs neither folder nor
    hub.

    Args:
        spec: a text modality.
        model: a name on the hub (kept in HF_HOME), or a folder that ``save_pretrained`` wrote.
        pooling: how tokens become a vector.
        tokens: give every token's state, no pooling.
        layer: which layer's states: 0 for the embeddings, 1 for the first layer, negative
            from the end; None for what the model gives, its final normalisation included.
        max_tokens: longest text, special tokens included; None for the model's own limit, at
            most 512.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; nothing by default.
        config: the architecture, which the encoder fills in itself for its checkpoint.
        tokenizer: the tokenizer as JSON, which the encoder fills in itself too.

    Shape:
        preprocess: B strings -> Tokens, values (B, T) long
        forward: Tokens, values (B, T) long -> (B, out_dim), or Tokens (B, T, out_dim)

    Raises:
        MissingFileError: no such folder, a folder without weights or tokenizer, or a name
            that is not in the cache and cannot be downloaded.
        CheckpointError: the weights are damaged, or weights, tokenizer and architecture are
            not those of one model.
        ConfigError: transformers is not installed or does not know the architecture; a layer
            or a length that the model does not have.
        DataError: from ``preprocess``, a row that is no string, holds half a character, or has no
            token because it is empty and the tokenizer adds none.

    Reference: Wolf et al., "Transformers: State-of-the-Art Natural Language Processing",
        EMNLP 2020 (demonstrations), arXiv:1910.03771; mean pooling as in Reimers and
        Gurevych, "Sentence-BERT", EMNLP 2019, arXiv:1908.10084.
    """

    kinds = frozenset({"text"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "sentence-transformers/all-MiniLM-L6-v2",
        pooling: Pooling = "mean",
        tokens: bool = False,
        layer: int | None = None,
        max_tokens: int | None = None,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        config: Mapping[str, Any] | None = None,
        tokenizer: str = "",
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        if pooling not in get_args(Pooling):
            raise ConfigError(
                f"TransformersTextEncoder: pooling is {pooling!r}; expected one of "
                f"{', '.join(get_args(Pooling))}."
            )
        self.pooling, self.tokens = pooling, tokens
        config = config or huggingface.read_config(model)
        with fixed_draw():
            network: Any = (
                huggingface.load(model, config)
                if needs_pretrained_weights()
                else huggingface.build(config)
            )
        self._tokenize(model, tokenizer, max_tokens, network)
        self._arguments |= {
            "config": config,
            "tokenizer": self.tokenizer.to_str(),
            "max_tokens": self.max_tokens,
        }

        blocks = huggingface.blocks_of(network)
        self._above = _above(layer, len(blocks), network.config.num_hidden_layers)
        if self._above is not None:
            del blocks[self._above + 1 :]  # nothing needs what lies further up
        self._adopt(network, network.config.hidden_size, list(blocks)[: self._above])
        if self._above is not None and self._learns:
            self._freeze_what_nothing_reads(blocks[: self._above])

    def _freeze_what_nothing_reads(self, blocks: nn.ModuleList) -> None:
        """Weights behind the chosen layer get no gradient, so they must not count as learning."""
        inside = {id(p) for p in blocks.parameters()}
        with torch.enable_grad():
            states = self._states(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2).bool())
        read = inside | {id(p) for p in _leaves(states)}
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in read)

    def features(self, x: Tokens) -> Tensor | Tokens:
        """The states, pooled unless tokens are asked for."""
        states = self._states(x.values.masked_fill(~x.mask, self._padding), x.mask)
        if self.tokens:
            return Tokens(states, x.mask)
        if self.pooling == "mean":
            return Tokens(states, x.mask).pooled()
        places = torch.arange(x.mask.shape[1], device=x.mask.device)
        if self.pooling == "cls":
            place = places.where(x.mask, len(places) - 1).amin(dim=1)
        else:
            place = places.where(x.mask, 0).amax(dim=1)
        return states.take_along_dim(place[:, None, None], dim=1).squeeze(1)

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self._above is None:
            return self.backbone(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        found: dict[str, Tensor] = {}

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found["states"] = args[0] if args else kwargs["hidden_states"]

        # Not the library's own output_hidden_states, which leaves hooks that cannot be pickled.
        above = huggingface.blocks_of(self.backbone)[self._above]
        hook = above.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            self.backbone(input_ids=ids, attention_mask=mask.long())
        finally:
            hook.remove()
        return found["states"]


def _above(layer: int | None, found: int, depth: int) -> int | None:
    """Which block is given the chosen layer's states; None for what comes out at the end."""
    if layer is None:
        return None
    if not -depth - 1 <= layer <= depth:
        raise ConfigError(
            f"TransformersTextEncoder: layer is {layer}; the model has layers 0 (the "
            f"embeddings) to {depth}, or {-depth - 1} to -1 from the end."
        )
    if found != depth:
        raise ConfigError(
            f"TransformersTextEncoder: layer is {layer}, but the model's {depth} layers share "
            "their weights. Leave layer out."
        )
    layer %= depth + 1
    return None if layer == depth else layer


def _leaves(result: Tensor) -> Iterator[Tensor]:
    """The parameters that the graph behind ``result`` ends in."""
    waiting, seen = [result.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting.extend(n for n, _ in node.next_functions)
