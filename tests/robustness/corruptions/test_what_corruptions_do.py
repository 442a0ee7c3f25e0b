"""What each corruption does to values is what its docstring says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmfuse import ModalitySpec
from mmfuse.media import Sound, Video
from mmfuse.robustness import corruptions as c
from mmfuse.robustness.corruptions import Draws, Measured
from mmfuse.robustness.corruptions.texts import MISREAD, NEIGHBOURS
from mmfuse.tokens import Tokens


def image(x: torch.Tensor, corruption, severity=3, low=0.0, high=1.0) -> torch.Tensor:
    return corruption(
        x, severity, None, Measured(ModalitySpec("image", x.shape[1:]), valid=(low, high))
    )


GREY = torch.full((4, 3, 60, 60), 0.5)


def test_gaussian_noise_has_the_stated_deviation():
    found = image(GREY * 200 - 50, c.GaussianNoise(), 2, low=-50, high=150)
    assert float((found - 50).std() / 200) == pytest.approx(0.12, rel=0.03)


def test_shot_noise_keeps_the_mean_and_has_a_photon_s_variance():
    found = image(GREY, c.ShotNoise(), 1)
    assert float(found.mean()) == pytest.approx(0.5, rel=0.01)
    assert float(found.var()) == pytest.approx(0.5 / 60, rel=0.05)


def test_impulses_are_black_or_white_in_all_channels_and_as_many_as_stated():
    found = image(GREY, c.ImpulseNoise(), 5)
    struck = found != 0.5
    assert set(found[struck].tolist()) == {0.0, 1.0}
    assert torch.equal(struck[:, 0], struck[:, 2])
    assert torch.equal(found[:, 0], found[:, 2])
    assert float(struck.float().mean()) == pytest.approx(0.27, abs=0.02)
    assert float((found[struck] == 1).float().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("blur", [c.GaussianBlur(), c.DefocusBlur(), c.MotionBlur()])
def test_a_blur_keeps_one_colour_and_the_sum_of_a_point(blur):
    torch.testing.assert_close(image(GREY, blur, 5), GREY, rtol=0, atol=1e-6)
    point = torch.zeros(3, 1, 101, 101)
    point[..., 50, 50] = 1
    found = image(point, blur, 3)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), torch.ones(3), rtol=1e-4, atol=0)
    assert (found.amax(dim=(1, 2, 3)) < 0.2).all()
    middle = torch.arange(101.0)
    for axis in (2, 3):
        mean = (found.sum(dim=5 - axis).squeeze(1) * middle).sum(dim=1)
        torch.testing.assert_close(mean, torch.full((3,), 50.0), rtol=0, atol=1e-2)


def test_a_gaussian_blur_has_the_stated_deviation():
    point = torch.zeros(1, 1, 201, 201)
    point[..., 100, 100] = 1
    profile = image(point, c.GaussianBlur(), 5)[0, 0].sum(dim=0).double()
    variance = (profile * (torch.arange(201) - 100.0) ** 2).sum() / profile.sum()
    assert float(variance) == pytest.approx((0.03 * 201) ** 2, rel=0.05)


def test_brightness_and_contrast_are_their_formulas():
    x = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image(x, c.Brightness(), 4), (x + 0.4).clamp(max=1))
    mean = x.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(image(x, c.Contrast(), 4), mean + 0.1 * (x - mean))


def test_values_beyond_black_and_white_that_a_row_had_are_not_cut_off():
    x = torch.full((1, 1, 8, 8), 0.5)
    x[..., 0, 0], x[..., 7, 7] = -3, 4
    found = image(x, c.ImpulseNoise([1e-9, 2e-9, 3e-9, 4e-9, 5e-9]), 5)
    torch.testing.assert_close(found, x)


def test_a_quarter_of_the_pixels_is_covered_at_severity_4():
    found = image(torch.zeros(5, 1, 40, 60), c.Occlusion(), 4)
    assert ((found == 0.5).float().mean(dim=(1, 2, 3)) == 0.25).all()


def test_a_rotation_turns_either_way_and_keeps_a_border_of_one_colour():
    disk = torch.zeros(8, 1, 41, 41)
    disk[:, :, 20, 30:34] = 1
    found = image(disk, c.Rotation(), 5)
    lowest = found[:, 0].sum(dim=2).argmax(dim=1)
    assert set((lowest > 20).tolist()) == {True, False}
    white = torch.ones(2, 3, 20, 20)
    torch.testing.assert_close(image(white, c.Rotation(), 5), white)


def test_integer_pixels_stay_integer():
    x = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8)
    assert image(x, c.JPEG(), 5, 0, 255).dtype == torch.uint8


class Frames(Video):
    def __init__(self) -> None:
        super().__init__(b"")

    def frames(self, count: int) -> np.ndarray:
        return np.full((count, 12, 12, 3), 128, np.uint8)


def test_noise_flickers_from_frame_to_frame_and_a_cover_stays():
    noisy = c.GaussianNoise()([Frames()], 3)[0].frames(2)
    assert noisy.dtype == np.uint8
    assert not np.array_equal(noisy[0], noisy[1])
    covered = c.Occlusion([0.1, 0.2, 0.3, 0.4, 0.5])([Frames()], 3)[0].frames(2)
    np.testing.assert_array_equal(covered[0], covered[1])
    alone = c.Brightness()([Image.fromarray(Frames().frames(1)[0])], 3)[0]
    shown = c.Brightness()([Frames()], 3)[0].frames(1)[0]
    np.testing.assert_array_equal(np.asarray(alone), shown)


def tone(*frequencies: float, rate: int = 8000) -> Sound:
    t = np.arange(rate) / rate
    return Sound(
        np.sum([np.sin(2 * np.pi * f * t) for f in frequencies], axis=0)[None].astype("f4"), rate
    )


@pytest.mark.parametrize("corruption", [c.WhiteNoise(), c.Hum()])
@pytest.mark.parametrize("severity", [1, 5])
def test_noise_and_hum_have_the_stated_ratio(corruption, severity):
    sound = tone(700)
    added = corruption([sound], severity)[0].samples - sound.samples
    ratio = 10 * np.log10((sound.samples**2).mean() / (added**2).mean())
    assert ratio == pytest.approx(corruption.levels[severity - 1], abs=0.05)
    if corruption.name == "Hum":
        spectrum = np.abs(np.fft.rfft(added[0]))
        assert set(np.flatnonzero(spectrum > 0.01 * spectrum.max())) == {50, 100, 150, 200}


def test_noise_beyond_1_is_not_clipped():
    loud = Sound(np.sign(tone(300).samples), 8000)
    assert np.abs(c.WhiteNoise()([loud], 5)[0].samples).max() > 1.5


def test_clipping_and_gain_are_their_formulas():
    sound = tone(300)
    clipped = c.Clipping()([sound], 3)[0].samples
    np.testing.assert_allclose(clipped, np.clip(sound.samples, -0.15, 0.15), atol=1e-4)
    quiet = c.Gain()([sound], 3)[0].samples
    np.testing.assert_allclose(quiet, sound.samples * 10 ** (-18 / 20), rtol=1e-5)


def test_gaps_take_the_stated_share_and_never_the_loudest_sample():
    samples = np.full((1, 200), 0.1, np.float32)
    samples[0, 117] = 1.0
    for row in range(30):
        found = c.SoundGaps()([Sound(samples, 8000)], 5, Draws(torch.tensor([row])))[0].samples
        assert found[0, 117] == 1.0
        assert (found == 0).mean() == 0.5


def test_a_low_pass_keeps_what_is_low():
    low, high = (c.LowPass()([tone(f)], 3)[0].samples for f in (200, 3000))
    inside = slice(50, -50)  # the mirror image has a kink at both ends
    np.testing.assert_allclose(low[:, inside], tone(200).samples[:, inside], atol=0.01)
    assert np.abs(high[:, inside]).max() < 0.02


def test_speed_changes_pitch_and_length():
    found = [c.Speed()([tone(500)], 5, Draws(torch.tensor([i])))[0] for i in range(8)]
    lengths = {f.samples.shape[1] for f in found}
    assert lengths == {12000, 5334}
    for sound in found:
        strongest = np.abs(np.fft.rfft(sound.samples[0])).argmax()
        pitch = strongest * 8000 / sound.samples.shape[1]
        assert pitch == pytest.approx(500 * 8000 / sound.samples.shape[1], rel=0.01)


TEXT = (
    "Seven hungry foxes jumped over quiet dogs near muddy rivers before breakfast. " * 30
).strip()


def test_typos_hit_neighbouring_keys_and_keep_the_case():
    found = c.KeyboardTypos()([TEXT], 5)[0]
    changed = [(a, b) for a, b in zip(TEXT, found, strict=True) if a != b]
    letters = sum(a.isalpha() for a in TEXT)
    assert len(changed) / letters == pytest.approx(0.25, abs=0.03)
    assert all(
        b.lower() in NEIGHBOURS[a.lower()] and a.isupper() == b.isupper() for a, b in changed
    )
    assert all(a in NEIGHBOURS[b] for a in NEIGHBOURS for b in NEIGHBOURS[a])
    assert NEIGHBOURS["q"] == "wa"


def test_swapped_letters_keep_each_word_s_letters():
    found = c.SwappedLetters()([TEXT], 5)[0]
    assert found != TEXT
    pairs = zip(TEXT.split(), found.split(), strict=True)
    assert all(sorted(a) == sorted(b) for a, b in pairs)


def test_deleted_letters_leave_every_word_s_first_and_repeated_ones_add():
    deleted, repeated = c.DeletedLetters()([TEXT], 5)[0], c.RepeatedLetters()([TEXT], 5)[0]
    assert [w[0] for w in deleted.split()] == [w[0] for w in TEXT.split()]
    letters = sum(a.isalpha() for a in TEXT)
    assert (len(repeated) - len(TEXT)) / letters == pytest.approx(0.25, abs=0.03)
    assert len(deleted) < len(TEXT)


def test_misread_letters_are_those_that_look_alike():
    text = TEXT.replace("m", "x").replace("w", "x")  # one for one, so that places stay
    found = c.MisreadLetters()([text], 5)[0]
    assert all(b in (a, MISREAD.get(a)) for a, b in zip(text, found, strict=True))
    assert found != text


def test_lost_words_are_in_order_and_one_stays():
    found = c.LostWords()([TEXT], 5)[0].split()
    rest = iter(TEXT.split())
    assert all(word in rest for word in found)
    assert len(found) / len(TEXT.split()) == pytest.approx(0.5, abs=0.07)
    everything = c.LostWords([0.1, 0.2, 0.3, 0.4, 1.0])
    assert everything(["one two\n three"], 5)[0] in {"one", "two", "three"}


def test_all_words_change_case_at_severity_5():
    assert c.SwappedCase()([TEXT], 5)[0] == TEXT.swapcase()


def table(rows: int = 4000) -> tuple[torch.Tensor, Measured]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=random) * torch.tensor([1.0, 10, 0.1, 0]) + 5
    codes = torch.randint(0, 4, (rows, 2), generator=random)
    codes[:, 1] = codes[:, 1].clamp(max=1)
    spec = ModalitySpec("table", (6,), categories=(4, 2))
    return torch.cat([x, codes], dim=1), Measured(spec, (5.0,) * 4, (1.0, 10.0, 0.1, 0.0))


def test_noise_is_as_large_as_the_training_deviation_says_and_none_on_a_constant():
    x, measured = table()
    noise = c.CellNoise()(x, 3, None, measured) - x
    wanted = 0.5 * torch.tensor([1.0, 10, 0.1, 0])
    torch.testing.assert_close(noise[:, :4].std(dim=0), wanted, rtol=0.04, atol=0)
    assert (noise[:, 3:] == 0).all()
    assert float(torch.corrcoef(noise[:, :2].T)[0, 1].abs()) < 0.05


def test_missing_cells_are_the_training_mean_and_the_unknown_category():
    x, measured = table()
    x[:, 3] = 7
    found = c.MissingCells()(x, 5, None, measured)
    changed = found != x
    assert (found[:, :4][changed[:, :4]] == 5).all()
    assert (found[:, 4:][changed[:, 4:]] == 0).all()
    assert float(changed[:, :4].float().mean()) == pytest.approx(0.5, abs=0.02)


def test_swapped_cells_hold_the_row_s_own_numbers_in_neighbouring_columns():
    x, measured = table()
    x[:, :4] = torch.arange(4.0) + 10 * torch.arange(4000.0).unsqueeze(1)
    found = c.SwappedCells()(x, 5, None, measured)
    assert torch.equal(found[:, :4].sort(dim=1).values, x[:, :4])
    assert torch.equal(found[:, 4:], x[:, 4:])
    moved = (found - x)[:, :4]
    assert set(moved.unique().tolist()) == {-1.0, 0.0, 1.0}
    pairs = (moved[:, :-1] == 1) & (moved[:, 1:] == -1)
    # Each row has two pairs or one, in turn, of which half are struck.
    assert float(pairs.float().sum(dim=1).mean()) == pytest.approx(0.75, abs=0.03)
    assert pairs.any(dim=0).all()


def test_rounded_cells_lie_on_the_grid():
    x, measured = table()
    found = c.RoundedCells()(x, 3, None, measured)
    place = (found[:, :3] - 5) / torch.tensor([1.0, 10, 0.1])
    torch.testing.assert_close(place, place.round(), rtol=0, atol=1e-4)
    assert ((found - x)[:, :3].abs() <= 0.5001 * torch.tensor([1.0, 10, 0.1])).all()
    assert torch.equal(found[:, 3:], x[:, 3:])


def test_wrong_categories_are_others_of_the_column_and_missing_ones_stay():
    x, measured = table()
    found = c.WrongCategories()(x, 5, None, measured)
    first, was = found[:, 4], x[:, 4]
    assert torch.equal(first[was == 0], was[was == 0])
    changed = (first != was) & (was > 0)
    assert float(changed.float().sum() / (was > 0).sum()) == pytest.approx(0.5, abs=0.03)
    counts = torch.bincount(first[changed & (was == 1)].long(), minlength=4)
    assert counts[[0, 1]].tolist() == [0, 0]
    assert float(counts[2] / counts[3]) == pytest.approx(1, abs=0.2)
    assert torch.equal(found[:, [0, 1, 2, 3, 5]], x[:, [0, 1, 2, 3, 5]])


def series(rows: int = 300, steps: int = 40) -> tuple[torch.Tensor, Measured]:
    x = torch.randn(rows, steps, 3, generator=torch.Generator().manual_seed(0))
    return x + 100, Measured(ModalitySpec("series", (steps, 3)), (7.0, 8.0, 9.0), (1.0, 2.0, 0.0))


def test_noise_of_a_series_is_of_each_entry_its_own():
    x, measured = series()
    noise = c.StepNoise()(x, 4, None, measured) - x
    torch.testing.assert_close(
        noise.flatten(0, 1).std(dim=0), torch.tensor([1.0, 2.0, 0.0]), rtol=0.03, atol=0
    )
    assert float(torch.corrcoef(noise[..., :2].flatten(0, 1).T)[0, 1].abs()) < 0.05


def test_lost_entries_and_channels_are_at_the_mean():
    x, measured = series()
    mean = torch.tensor([7.0, 8.0, 9.0])
    for corruption in (c.LostEntries(), c.LostChannels(), c.LostBlock()):
        found = corruption(x, 4, None, measured)
        lost = found != x
        assert torch.equal(found[lost], mean.expand_as(found)[lost])
        assert float(lost.float().mean()) == pytest.approx(0.35, abs=0.03)
    by_channel = c.LostChannels()(x, 4, None, measured) == mean
    assert torch.equal(by_channel.any(dim=1), by_channel.all(dim=1))
    assert (by_channel.all(dim=1).sum(dim=1) <= 2).all()


def test_a_lost_block_is_one_run_inside_the_row():
    x, measured = series(steps=20)
    mask = torch.arange(20) < torch.randint(
        1, 21, (300, 1), generator=torch.Generator().manual_seed(1)
    )
    found = c.LostBlock()(Tokens(x, mask), 5, None, measured)
    lost = (found.values != x).any(dim=2)
    starts = (lost[:, 1:] & ~lost[:, :-1]).sum(dim=1) + lost[:, 0]
    assert starts.max() == 1
    assert not (lost & ~mask).any()
    assert (lost.sum(dim=1) < mask.sum(dim=1)).all()


def test_a_warp_of_a_straight_line_is_the_formula_and_keeps_both_ends():
    line = torch.arange(21.0).view(1, 21, 1).repeat(1, 1, 3)
    measured = Measured(ModalitySpec("series", (21, 3)), (0.0,) * 3, (1.0,) * 3)
    found = c.TimeWarp()(line, 5, Draws(torch.tensor([5])), measured)[0, :, 0]
    assert found[0] == 0
    assert found[20] == 20
    assert (found.diff() > 0).all()
    u = np.arange(21) / 20
    phase = 2 * np.pi * float(Draws(torch.tensor([5]), purpose="TimeWarp").uniform(1))
    wanted = 20 * (u + 0.95 / (2 * np.pi) * (np.sin(2 * np.pi * u + phase) - np.sin(phase)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_drift_is_a_line_from_where_the_row_was():
    x, measured = series()
    added = c.Drift()(x.double(), 3, None, measured) - x
    assert (added[:, 0] == 0).all()
    torch.testing.assert_close(
        added[:, -1].abs(), torch.tensor([1.0, 2, 0]).double().expand(300, 3)
    )
    torch.testing.assert_close(added[:, 1:-1] * 2, added[:, :-2] + added[:, 2:])
    assert 0.4 < float((added[:, -1, 0] > 0).double().mean()) < 0.6
