"""Every corruption keeps the contract: identity at 0, pure, by row alone, ever further."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from mmfuse import ModalitySpec
from mmfuse.data.reading import pick
from mmfuse.errors import ConfigError
from mmfuse.media import Sound
from mmfuse.recorded import describe, rebuild
from mmfuse.registry import entries, known, resolve
from mmfuse.robustness.corruptions import (
    SEVERITIES,
    Brightness,
    CellNoise,
    Corruption,
    Draws,
    LostChannels,
    Measured,
    SwappedCells,
    WrongCategories,
    standard_corruptions,
)
from mmfuse.robustness.corruptions.standard import STANDARD

KINDS = ("image", "array", "video", "audio", "text", "table", "vector", "series", "tokens")


def spec_kind(name: str) -> str:
    return "image" if name == "array" else name


CASES = [
    pytest.param(cls(), kind, id=f"{cls.__name__}-{kind}")
    for cls in STANDARD
    for kind in KINDS
    if spec_kind(kind) in cls.kinds
]
#: What draws nothing.
CERTAIN = {
    *("GaussianBlur", "DefocusBlur", "Brightness", "Contrast", "JPEG", "Pixelate"),
    *("Clipping", "Gain", "LowPass", "RoundedCells"),
}


def same(one: list, other: list) -> bool:
    return all(
        a == b if isinstance(a, str) else a.dtype == b.dtype and np.array_equal(a, b, True)
        for a, b in zip(one, other, strict=True)
    )


def by_row(raw, rows, severity, corruption, measured, seed=0):
    draws = Draws(torch.as_tensor(rows), seed, "m")
    return corruption(pick(raw, list(range(len(rows)))), severity, draws, measured)


@pytest.mark.parametrize(("corruption", "kind"), CASES)
def test_severity_0_is_the_identity(given, corruption, kind):
    raw = given[kind].raw
    assert corruption(raw, 0, None, given[kind].measured) is raw


@pytest.mark.parametrize(("corruption", "kind"), CASES)
def test_distortion_grows_with_severity_and_nothing_is_written(
    given, rows_of, distortion, corruption, kind
):
    raw, measured = given[kind].raw, given[kind].measured
    before = copy.deepcopy(rows_of(raw))
    found = [corruption(raw, s, None, measured) for s in (0, *SEVERITIES)]
    assert same(rows_of(raw), before)
    by_severity = [distortion(raw, f) for f in found]
    assert by_severity[0] == 0
    assert (np.diff(by_severity) > 0).all(), by_severity
    assert all(type(f) is type(raw) for f in found)


@pytest.mark.parametrize(("corruption", "kind"), CASES)
def test_a_row_s_corruption_depends_on_the_row_and_the_seed_alone(given, rows_of, corruption, kind):
    raw, measured = given[kind].raw, given[kind].measured
    count, numbers = 8, np.array([70, 3, 11, 0, 500, 12, 6, 99])
    some = pick(raw, list(range(count)))
    whole = rows_of(by_row(some, numbers, 4, corruption, measured))
    order = [5, 2, 7]
    part = rows_of(by_row(pick(some, order), numbers[order], 4, corruption, measured))
    assert same(part, [whole[i] for i in order])
    assert same(rows_of(by_row(some, numbers, 4, corruption, measured)), whole)
    again = rows_of(by_row(some, numbers, 4, corruption, measured, seed=1))
    assert same(again, whole) == (corruption.name in CERTAIN)
    same_values = pick(raw, [0] * count)
    twice = rows_of(by_row(same_values, numbers, 4, corruption, measured))
    assert all(same([twice[0]], [t]) for t in twice) == (corruption.name in CERTAIN)


def test_padding_changes_nothing_of_a_series(given, rows_of):
    tokens, measured = given["tokens"].raw, given["tokens"].measured
    shortest = int(tokens.mask.sum(dim=1).argmin())
    alone = tokens.rows(torch.tensor([shortest]))
    length = int(alone.mask.sum())
    cut = type(alone)(alone.values[:, :length], alone.mask[:, :length])
    for corruption in standard_corruptions(measured.spec):
        one = rows_of(by_row(alone, [7], 3, corruption, measured))
        other = rows_of(by_row(cut, [7], 3, corruption, measured))
        assert same(one, other), corruption.name
        changed = by_row(tokens, range(60), 3, corruption, measured)
        assert torch.equal(changed.values[~tokens.mask], tokens.values[~tokens.mask])
        assert torch.equal(changed.mask, tokens.mask)


@pytest.mark.parametrize("kind", ["table", "vector", "series", "tokens", "array"])
def test_missing_numbers_stay_missing_and_spoil_no_others(given, kind):
    raw, measured = copy.deepcopy(given[kind].raw), given[kind].measured
    values = raw.values if kind == "tokens" else raw
    gaps = torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    if kind == "table":
        gaps[:, 4:] = False
    values[gaps] = torch.nan
    for corruption in standard_corruptions(measured.spec):
        found = corruption(raw, 5, None, measured)
        found = found.values if kind == "tokens" else found
        assert torch.equal(found.isnan(), gaps), corruption.name


@pytest.mark.parametrize("cls", STANDARD)
def test_a_wrong_severity_or_wrong_levels_are_refused(given, cls):
    with pytest.raises(ConfigError, match="severity is 6; expected 0 to 5"):
        cls()([], 6)
    good = cls.defaults
    for levels in (good[:4], good[::-1], (good[0],) * 5, (*good[:4], 1e9), (np.nan, *good[1:])):
        with pytest.raises(ConfigError, match="expected five, each further"):
            cls(levels)


@pytest.mark.parametrize(("corruption", "kind"), CASES)
def test_a_modality_of_another_kind_is_refused(corruption, kind):
    wrong = ModalitySpec("text") if "text" not in corruption.kinds else ModalitySpec("audio")
    with pytest.raises(ConfigError, match=f"'m': {corruption.name} takes"):
        corruption.check("m", wrong)


def test_a_table_without_what_is_to_be_corrupted_is_refused():
    with pytest.raises(ConfigError, match="needs 2 columns of numbers, there are 1"):
        SwappedCells().check("m", ModalitySpec.of(1))
    with pytest.raises(ConfigError, match="needs a column of two categories"):
        WrongCategories().check("m", ModalitySpec("table", (2,), categories=(2,)))
    with pytest.raises(ConfigError, match="needs two channels"):
        LostChannels().check("m", ModalitySpec("series", (9, 1)))


def test_arrays_of_which_nothing_is_known_are_refused(given):
    with pytest.raises(ConfigError, match="Give measured=measure"):
        CellNoise()(given["vector"].raw, 1)
    with pytest.raises(ConfigError, match="are known of 0 numbers, rows have 4"):
        CellNoise()(given["vector"].raw, 1, None, Measured(ModalitySpec.of(4)))
    with pytest.raises(ConfigError, match="Give valid="):
        Brightness()(given["array"].raw, 1, None, Measured(ModalitySpec.of((2, 17, 23))))


def test_the_standard_corruptions_are_the_registry_and_fit_their_kind(given):
    ours = {n: c for n, c in known(Corruption).items() if c.__module__.startswith("mmfuse.")}
    assert ours == {c.__name__: c for c in STANDARD}
    assert {e.summary[-1] for e in entries(Corruption) if e.name in ours} == {"."}
    assert resolve(Corruption, "GaussianBlur") is ours["GaussianBlur"]
    with pytest.raises(ConfigError, match="Did you mean 'GaussianBlur'"):
        resolve(Corruption, "GausianBlur")
    for kind in KINDS:
        found = standard_corruptions(given[kind].measured.spec)
        wanted = {c.name for c, k in (p.values for p in CASES) if k == kind}
        assert {c.name for c in found} == wanted


def test_a_corruption_is_rebuilt_from_plain_data():
    made = resolve(Corruption, "JPEG")([50, 40, 30, 20, 10])
    again = rebuild(describe(made), base=Corruption)
    assert again.levels == made.levels == (50, 40, 30, 20, 10)


@settings(max_examples=60, deadline=None)
@draw(st.text(max_size=40), st.integers(1, 5), st.integers(0, 2**40))
def test_any_text_gives_a_text_that_says_something(text, severity, row):
    for corruption in standard_corruptions(ModalitySpec("text")):
        (found,) = corruption([text], severity, Draws(torch.tensor([row])))
        assert isinstance(found, str)
        assert bool(found.strip()) == bool(text.strip())


@settings(max_examples=40, deadline=None)
# Of a single sample a hum of its own size may be its opposite.
@draw(st.integers(1, 2), st.integers(2, 300), st.integers(1, 5), st.integers(0, 99))
def test_any_sound_stays_a_sound_that_is_heard(channels, length, severity, row):
    loud = np.random.default_rng(row).uniform(-1.5, 1.5, (channels, length)).astype(np.float32)
    for corruption in standard_corruptions(ModalitySpec("audio")):
        heard, silent = corruption(
            [Sound(loud, 1000), Sound(loud * 0, 1000)], severity, Draws(torch.tensor([row, row]))
        )
        assert heard.samples.any(), corruption.name
        assert not silent.samples.any()
        assert heard.rate == 1000
        assert heard.samples.dtype == np.float32
        if corruption.name != "Speed":
            assert heard.samples.shape == loud.shape


@settings(max_examples=25, deadline=None)
@draw(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.integers(1, 5))
def test_an_image_of_any_size_keeps_its_form_and_range(height, width, channels, severity):
    spec = ModalitySpec("image", (channels, height, width))
    raw = torch.rand(2, channels, height, width) * 7 - 2
    for corruption in standard_corruptions(spec):
        found = corruption(raw, severity, None, Measured(spec, valid=(-2.0, 5.0)))
        assert found.shape == raw.shape
        assert found.dtype == raw.dtype
        assert found.min() >= -2 - 1e-5, corruption.name
        assert found.max() <= 5 + 1e-5, corruption.name


@settings(max_examples=30, deadline=None)
@draw(st.integers(1, 12), st.lists(st.integers(1, 5), max_size=3), st.integers(1, 5))
def test_a_table_of_any_width_keeps_its_codes_valid(numbers, categories, severity):
    spec = ModalitySpec("table", (numbers + len(categories),), categories=tuple(categories))
    codes = [torch.randint(0, c, (9, 1)).float() for c in categories]
    raw = torch.cat([torch.randn(9, numbers), *codes], dim=1)
    for corruption in standard_corruptions(spec):
        measured = Measured(spec, (0.0,) * numbers, (1.0,) * numbers)
        found = corruption(raw, severity, None, measured)
        assert found.isfinite().all()
        for i, count in enumerate(categories):
            column = found[:, numbers + i]
            assert ((column >= 0) & (column < count) & (column % 1 == 0)).all(), corruption.name
