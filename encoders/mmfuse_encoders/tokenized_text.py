"""TokenizedTextEncoder: a text model of Hugging Face transformers and its tokenizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mmfuse.errors import CheckpointError, ConfigError, DataError
from mmfuse.tokens import Tokens
from mmfuse_encoders import huggingface
from mmfuse_encoders.pretrained import PretrainedEncoder
from mmfuse_encoders.strings import CutTexts, checked

#: Tokens kept of a text unless asked for more, as cost grows with the square of the length.
LONGEST = 512


class TokenizedTextEncoder(CutTexts, PretrainedEncoder):
    """Base of encoders whose texts are numbered by a tokenizer of Hugging Face.

    A subclass calls ``_tokenize`` in its constructor, and writes ``features``.

    Attributes:
        tokenizer: the model's own (``tokenizers.Tokenizer``).
        max_tokens: longest text, special tokens included.
    """

    kinds = frozenset({"text"})

    def _tokenize(self, model: str, plain: str, max_tokens: int | None, network: Any) -> None:
        """Sets up the tokenizer, from its JSON or from the model's files, and the length."""
        import tokenizers

        own = None
        if plain:
            tokenizer = tokenizers.Tokenizer.from_str(plain)
        else:
            tokenizer, own = huggingface.read_tokenizer(model)
        words, known = tokenizer.get_vocab_size(), network.get_input_embeddings().num_embeddings
        if words > known:
            raise CheckpointError(
                f"The tokenizer of {model} has {words} tokens, the model has embeddings for "
                f"{known}. Give the files of one model."
            )
        positions = huggingface.most_positions(network)
        if max_tokens is None:
            max_tokens = min(n for n in (own, positions, LONGEST) if n)
        fewest = tokenizer.num_special_tokens_to_add(False) + 1
        if not fewest <= max_tokens <= (positions or max_tokens):
            raise ConfigError(
                f"{type(self).__name__}: max_tokens is {max_tokens}; {model} takes {fewest} to "
                f"{positions or 'any number of'} tokens."
            )
        tokenizer.no_padding()
        # What stands at the end is cut, whichever end the model's authors chose.
        tokenizer.enable_truncation(max_tokens)
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        # Positions of RoBERTa and its kin are counted over tokens that are not this one.
        self._padding = max(network.config.pad_token_id or 0, 0)

    def preprocess(self, raw: Any) -> Tokens:
        """Each text's tokens by number, padded at the end to the longest."""
        found = [self._encoded(i, text) for i, text in enumerate(raw)]
        self._count([bool(f.overflowing) for f in found], self.max_tokens)
        rows = [torch.tensor(f.ids) for f in found]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._padding)
        lengths = torch.tensor([len(row) for row in rows])
        return Tokens(ids, torch.arange(ids.shape[1]) < lengths.unsqueeze(1))

    def preprocessing(self) -> dict[str, Any]:
        """The kind and size of the tokenizer's vocabulary, and the longest text."""
        return {
            "tokenizer": type(self.tokenizer.model).__name__,
            "vocabulary": self.tokenizer.get_vocab_size(),
            "max_tokens": self.max_tokens,
        }

    def _encoded(self, row: int, text: Any) -> Any:
        # One text at a time: threads of its own would not survive the fork of a data worker.
        found = self.tokenizer.encode(checked(text, row, type(self).__name__))
        if not found.ids:
            raise DataError(
                f"{type(self).__name__}: the text in row {row} has no token: {text!r:.60}. "
                "Fill it, or mark the row absent."
            )
        return found
