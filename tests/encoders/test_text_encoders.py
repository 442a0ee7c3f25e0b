"""Encoders for texts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders import HashedNgramEncoder

TEXT = ModalitySpec("text")


def make(**options) -> HashedNgramEncoder:
    return HashedNgramEncoder(TEXT, **{"out_dim": 4, "hidden": 8, **options})


def ids(text: str, **options) -> list[int]:
    tokens = make(**options).preprocess([text])
    return tokens.values[tokens.mask].tolist()


def test_a_sentence_has_the_same_buckets_on_every_machine():
    # Of "a" MurmurHash3 makes 0x3C2569B2, which any other implementation says as well.
    assert 0x3C2569B2 % (2**15 - 2) + 2 == 23116
    assert ids("A cat sat!") == [23116, 14529, 30373, 1920, 20844, 26260, 24158]


def test_another_process_with_another_hash_seed_finds_the_same_buckets():
    code = (
        "from mmfuse.spec import ModalitySpec\n"
        "from mmfuse_encoders import HashedNgramEncoder\n"
        "encoder = HashedNgramEncoder(ModalitySpec('text'), hidden=8, characters=[2, 3])\n"
        "print(encoder.preprocess(['Grüße, a cat']).values[0].tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert found.stdout.strip() == str(ids("Grüße, a cat", characters=[2, 3]))


def test_an_empty_text_is_a_row_with_one_token_and_a_vector_of_its_own():
    encoder = make().eval()
    tokens = encoder.preprocess(["", " \n ", "word"])
    assert tokens.mask.sum(dim=1).tolist() == [1, 1, 1]
    assert tokens.values[:2, 0].tolist() == [1, 1]
    assert tokens.values[2, 0] > 1
    found = encoder(tokens)
    assert found.isfinite().all()
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_no_word_falls_into_a_bucket_that_means_something_else():
    texts = [f"w{i}" for i in range(500)]
    assert make(buckets=4, words=1).preprocess(texts).values.unique().tolist() == [2, 3]


def test_ngrams_stand_in_the_order_in_which_the_text_completes_them():
    one, two, three = (ids(w)[0] for w in ("one", "two", "three"))
    found = ids("one two three", words=2)
    assert [found[0], found[1], found[3]] == [one, two, three]
    assert found[2] == ids("one two", words=2)[2]
    assert ids("one two three", words=1) == [one, two, three]


def test_a_long_text_keeps_its_beginning():
    text = " ".join(f"w{i}" for i in range(100))
    assert ids(text, words=1, max_tokens=7) == ids(text, words=1)[:7]


def test_characters_of_a_word_and_the_word_itself_are_told_apart():
    plain = set(ids("cat"))
    parts = set(ids("cat", characters=[3, 5]))
    assert len(parts) == 1 + 3 + 2 + 1  # the word; <ca cat at>; <cat cat>; <cat>
    assert plain < parts


def test_the_vector_follows_its_equation():
    encoder = make(words=1).double().eval()
    tokens = encoder.preprocess(["a b a", "c"])
    for row, found in zip(tokens.values, encoder(tokens), strict=True):
        real = [encoder.embedding.weight[i] for i in row.tolist() if i]
        mean = sum(real) / len(real)
        torch.testing.assert_close(found, encoder.readout(mean))


def test_padding_buckets_never_leak():
    encoder = make().double().eval()
    tokens = encoder.preprocess(["one", "one two three"])
    spoilt = Tokens(tokens.values.masked_fill(~tokens.mask, 10**9), tokens.mask)
    assert torch.equal(encoder(spoilt), encoder(tokens))
    encoder(spoilt).square().sum().backward()
    used = encoder.embedding.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert set(used) == set(tokens.values[tokens.mask].tolist())


def test_text_encoder_trains_on_one_row(trains_on_one_row):
    encoder = make()
    trains_on_one_row(encoder, encoder.preprocess(["one row"]))


def test_text_encoder_learns_a_word(learns):
    texts = [f"{'good' if i % 2 else 'bad'} thing {i}" for i in range(40)]
    encoder = make(out_dim=8, hidden=16)
    learns(encoder, encoder.preprocess(texts), torch.arange(40) % 2)


def test_what_is_no_string_is_refused():
    with pytest.raises(DataError, match="takes strings, found bytes"):
        make().preprocess(["fine", b"not fine"])
    with pytest.raises(DataError, match="row 1 holds half a character"):
        make().preprocess(["fine", "not \ud800 fine"])


@pytest.mark.parametrize(
    "options",
    [{"buckets": 2}, {"words": 0}, {"max_tokens": 0}, {"characters": [3]}, {"characters": [5, 3]}],
)
def test_options_that_leave_no_ngram_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        make(**options)


def test_text_encoder_refuses_a_vector():
    with pytest.raises(ConfigError, match="takes text, the modality is vector"):
        HashedNgramEncoder(5)
