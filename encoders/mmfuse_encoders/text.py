"""Encoder for short texts without a pretrained model: hashed n-grams and their mean embedding."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.strings import checked

# Buckets with a meaning of their own; n-grams share the others.
PADDING, NOTHING, FIRST = 0, 1, 2

WORD = re.compile(r"\w+|[^\w\s]+")


class HashedNgramEncoder(Encoder):
    """Mean embedding of hashed word and character n-grams (fastText).

    ``preprocess`` turns each text into bucket numbers, by a hash that is the same in every
    process and on every machine; a text without a word has one bucket of its own. Then::

        z = Linear(LayerNorm(mean_t E[bucket_t]))

    Args:
        spec: a text modality.
        out_dim: width of the result.
        hidden: width of an n-gram's embedding.
        buckets: number of embeddings; n-grams that fall into one bucket share its embedding.
        words: longest n-gram of words.
        characters: shortest and longest n-gram of characters inside a word and its two
            edges, such as [3, 5]; empty for none.
        max_tokens: n-grams kept of a text, from its beginning.
        dropout: rate before the readout.
        frozen: no learning.

    Shape:
        preprocess: B strings -> Tokens, values (B, T) long
        forward: Tokens, values (B, T) long -> (B, out_dim)

    Raises:
        ConfigError: too few buckets, or n-grams of no length.
        DataError: from ``preprocess``, a row that is no string, or holds half a character.

    Reference: Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017,
        arXiv:1607.01759; characters as in Bojanowski et al., "Enriching Word Vectors with
        Subword Information", TACL 2017, arXiv:1607.04606.

    Departs from the papers: single words are hashed too, so no vocabulary is learned; the
    LayerNorm, because a mean over many embeddings is far shorter than one over few.

    Example:
        >>> encoder = HashedNgramEncoder(ModalitySpec("text"), out_dim=8, words=1)
        >>> tokens = encoder.preprocess(["a cat, a dog", ""])
        >>> tokens.mask.sum(dim=1)
        tensor([5, 1])
        >>> encoder(tokens).shape
        torch.Size([2, 8])
    """

    kinds = frozenset({"text"})
    default_for = frozenset({"text"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 64,
        buckets: int = 2**15,
        words: int = 2,
        characters: Sequence[int] = (),
        max_tokens: int = 512,
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        if buckets <= FIRST or words < 1 or max_tokens < 1:
            raise ConfigError(
                f"HashedNgramEncoder: buckets {buckets}, words {words}, max_tokens {max_tokens}. "
                f"Take more than {FIRST} buckets, and at least 1 of the others."
            )
        if characters and not (len(characters) == 2 and 1 <= characters[0] <= characters[1]):
            raise ConfigError(
                f"HashedNgramEncoder: characters {list(characters)}. Give the shortest and the "
                "longest n-gram, such as [3, 5], or [] for none."
            )
        self.buckets, self.words, self.characters = buckets, words, tuple(characters)
        self.max_tokens = max_tokens
        self.embedding = nn.Embedding(buckets, hidden)
        nn.init.normal_(self.embedding.weight, std=hidden**-0.5)
        self.readout = nn.Sequential(
            nn.LayerNorm(hidden), nn.Dropout(dropout), nn.Linear(hidden, out_dim)
        )

    def preprocess(self, raw: Any) -> Tokens:
        """Bucket numbers of each text's n-grams, padded to the longest."""
        texts = [checked(text, i, type(self).__name__) for i, text in enumerate(raw)]
        found = [torch.tensor(self._ids(text)) for text in texts]
        ids = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=PADDING)
        return Tokens(ids, ids != PADDING)

    def _ids(self, text: str) -> list[int]:
        from sklearn.utils import murmurhash3_32  # takes seconds, and brings pandas and scipy

        count = self.buckets - FIRST
        grams = islice(self._ngrams(WORD.findall(text.lower())), self.max_tokens)
        return [murmurhash3_32(g, positive=True) % count + FIRST for g in grams] or [NOTHING]

    def _ngrams(self, words: Sequence[str]) -> Iterator[str]:
        """All n-grams in the order in which the text completes them."""
        for i, word in enumerate(words):
            for n in range(1, min(self.words, i + 1) + 1):
                yield " ".join(words[i + 1 - n : i + 1])
            yield from self._parts(word)

    def _parts(self, word: str) -> Iterator[str]:
        """The word's n-grams of characters; the line break tells them from words."""
        if not self.characters:
            return
        shortest, longest = self.characters
        edged = f"<{word}>"
        for n in range(shortest, longest + 1):
            for i in range(len(edged) - n + 1):
                yield "\n" + edged[i : i + n]

    def forward(self, x: Tokens) -> Tensor:
        """Encodes the rows."""
        # Padding points at an embedding too, with a weight of zero.
        ids, real = x.values.masked_fill(~x.mask, PADDING), x.mask.to(self.embedding.weight.dtype)
        weights = real / real.sum(dim=1, keepdim=True).clamp(min=1)
        mean = F.embedding_bag(ids, self.embedding.weight, mode="sum", per_sample_weights=weights)
        return self.readout(mean)
