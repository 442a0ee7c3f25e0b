"""The kit catches encoders that break a promise, and passes one that keeps them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.media import Sound, Video
from mmfuse.spec import ModalitySpec
from mmfuse.testing import ConformanceError, check_encoder
from mmfuse.testing.values import sample_raw
from mmfuse.tokens import Tokens


class _Words(Encoder):
    """Text as the mean of embedded word lengths."""

    kinds = frozenset({"text"})

    def __init__(self, spec, out_dim=3, frozen=False):
        super().__init__(spec, out_dim, frozen)
        self.embed = nn.Embedding(20, out_dim)

    def preprocess(self, raw):
        rows = [torch.tensor([len(word) for word in text.split()]) for text in raw]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return Tokens(ids, ids > 0)

    def forward(self, x):
        return Tokens(self.embed(x.values), x.mask)


class _Steps(Encoder):
    """Series as one token a step."""

    kinds = frozenset({"series"})

    def __init__(self, spec, out_dim=3, frozen=False):
        super().__init__(spec, out_dim, frozen)
        self.map = nn.Linear(self.spec.width, out_dim)

    def forward(self, x):
        if not isinstance(x, Tokens):
            x = Tokens(x, x.new_ones(x.shape[:2], dtype=torch.bool))
        x = x.keep(x.mask.any(dim=1))
        return Tokens(self.map(x.values), x.mask)


class _ReadsPadding(_Steps):
    def forward(self, x):
        values = x.values if isinstance(x, Tokens) else x
        return self.map(values.mean(dim=1))


class _LooksAtTheBatch(_Steps):
    def forward(self, x):
        tokens = super().forward(x)
        return Tokens(tokens.values - tokens.values.mean(dim=0), tokens.mask)


class _Wakes(_Steps):
    def train(self, mode=True):
        return nn.Module.train(self, mode)


class _WrongWidth(_Steps):
    def __init__(self, spec, out_dim=3, frozen=False):
        super().__init__(spec, out_dim, frozen)
        self.out_dim = out_dim + 1


class _TakesMoreThanItSays(_Steps):
    def __init__(self, spec, out_dim=3, frozen=False):
        nn.Module.__init__(self)
        self.spec, self.out_dim, self.frozen = ModalitySpec.of(spec), out_dim, frozen


class _Media(Encoder):
    """Anything as the mean and the deviation of its values."""

    def __init__(self, spec, out_dim=2, frozen=False):
        super().__init__(spec, out_dim, frozen)
        self.map = nn.Linear(2, out_dim)

    def preprocess(self, raw):
        arrays = [torch.tensor(np.asarray(self.open(r)), dtype=torch.float32) for r in raw]
        return torch.stack([torch.stack([a.mean(), a.std()]) for a in arrays])

    def forward(self, x):
        return self.map(x)


class _Pictures(_Media):
    kinds = frozenset({"image"})

    def __init__(self, spec, out_dim=2, frozen=False):
        super().__init__(spec, out_dim, frozen)
        if self.spec.shape:
            raise ConfigError("raw pictures only")

    def open(self, raw):
        assert isinstance(raw, Image.Image)
        return raw


class _Arrays(_Media):
    kinds = frozenset({"image"})

    def __init__(self, spec, out_dim=2, frozen=False):
        super().__init__(spec, out_dim, frozen)
        self.channels = self.spec.width

    def open(self, raw):
        return raw


class _Sounds(_Media):
    kinds = frozenset({"audio"})

    def open(self, raw):
        assert isinstance(raw, Sound)
        return raw.samples


class _Videos(_Media):
    kinds = frozenset({"video"})

    def open(self, raw):
        assert isinstance(raw, Video)
        frames = raw.frames(4)
        assert frames.shape[0] == 4
        assert frames.shape[3] == 3
        return frames


@pytest.mark.parametrize("cls", [_Words, _Steps, _Pictures, _Arrays, _Sounds, _Videos])
def test_an_honest_encoder_passes(cls):
    check_encoder(cls, out_dim=2)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (_ReadsPadding, "padding_means_nothing"),
        (_LooksAtTheBatch, "row_by_row"),
        (_Wakes, "freezing_holds"),
        (_WrongWidth, "declared_width"),
        (_TakesMoreThanItSays, "kinds_are_declared"),
    ],
)
def test_a_broken_encoder_is_caught_and_the_promise_is_named(broken, promise):
    with pytest.raises(ConformanceError) as caught:
        check_encoder(broken, ModalitySpec("series", (None, 2)))
    assert promise in caught.value.broken
    assert broken.__name__ in str(caught.value)


def test_samples_of_media_differ_in_size_rate_and_channels():
    pictures = sample_raw(ModalitySpec("image"))
    assert len({p.size for p in pictures}) == len(pictures)
    sounds = sample_raw(ModalitySpec("audio"))
    assert {s.rate for s in sounds} == {8000, 16000, 22050}
    assert {len(s.samples) for s in sounds} == {1, 2}
    assert min(s.seconds for s in sounds) >= 0.29
    assert max(s.seconds for s in sounds) <= 1.2
    videos = sample_raw(ModalitySpec("video"))
    assert len({v.frames(3).shape for v in videos}) == len(videos)
