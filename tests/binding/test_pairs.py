"""Pseudo pairs: who is found, through which space, and what a drawn tuple holds."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmfuse.binding import Aggregation, Pool, Retrieval
from mmfuse.binding.banks import Banks
from mmfuse.binding.nearest import neighbours
from mmfuse.errors import ConfigError

SOURCE = torch.Generator().manual_seed(0)


def vectors(count, width):
    return torch.randn(count, width, generator=SOURCE)


def some_present(count):
    return torch.rand(count, generator=SOURCE) > 0.3


@pytest.fixture
def banks():
    """Images and text in two spaces, text and sounds in a third; each space lacks some items."""
    pools = {
        "i": Pool(
            "image",
            {"s": vectors(30, 6), "t": vectors(30, 5)},
            present={"s": some_present(30), "t": some_present(30)},
        ),
        "w": Pool(
            "text",
            {"s": vectors(40, 6), "t": vectors(40, 5), "u": vectors(40, 4)},
            present={"t": some_present(40), "u": some_present(40)},
            held_out=torch.arange(40) % 4 == 0,
        ),
        "a": Pool("audio", {"u": vectors(25, 4)}),
    }
    return Banks(pools)


def literal(banks, a, row, b, candidates, spaces):
    """The mean cosine of one item with each candidate, over the spaces that have both."""
    one, other, found = banks.of[a], banks.of[b], {}
    for c in candidates.tolist():
        cosines = [
            float(one.vectors[s][row].double() @ other.vectors[s][c].double())
            for s in spaces
            if one.present[s][row] and other.present[s][c]
        ]
        if cosines:
            found[c] = sum(cosines) / len(cosines)
    return sorted(found, key=found.__getitem__, reverse=True)


@pytest.mark.parametrize("spaces", [("s",), ("t",), ("s", "t")])
def test_the_nearest_are_those_of_the_definition(banks, spaces, monkeypatch):
    monkeypatch.setattr("mmfuse.binding.nearest._COLUMNS", 7)  # several blocks
    monkeypatch.setattr("mmfuse.binding.nearest._ROWS", 4)
    mine, theirs = torch.tensor([0, 3, 7, 29, 11, 12, 20]), torch.arange(1, 40, 2)
    found = neighbours(banks.of["image"], mine, banks.of["text"], theirs, spaces, k=3)
    for near, (a, rows), (b, candidates) in zip(
        found,
        (("image", mine), ("text", theirs)),
        (("text", theirs), ("image", mine)),
        strict=True,
    ):
        for i, row in enumerate(rows.tolist()):
            here = any(banks.of[a].present[s][row] for s in spaces)
            wanted = literal(banks, a, row, b, candidates, spaces) if here else []
            assert near[i].tolist() == [*wanted, -1, -1, -1][:3]


def test_faiss_finds_what_the_exact_search_finds():
    pytest.importorskip("faiss")
    banks = Banks({"p": Pool("a", {"s": vectors(50, 8)}), "q": Pool("b", {"s": vectors(60, 8)})})
    asked = banks.of["a"], torch.arange(50), banks.of["b"], torch.arange(10, 60), ["s"], 2
    for found, expected in zip(neighbours(*asked, "faiss-ivf"), neighbours(*asked), strict=True):
        assert torch.equal(found, expected)


def test_a_modality_that_shares_no_space_is_reached_over_another(banks):
    found = Retrieval().find(banks)
    rows = {m: x[:, 0] for m, x in found.items()}
    usable = banks.rows(held_out=False)
    assert len(rows["text"]) == sum(len(r) for r in usable.values())
    assert not (banks.of["text"].held_out[rows["text"][rows["text"] >= 0]]).any()
    last = len(rows["text"]) - 1  # a tuple that starts at a sound
    assert rows["audio"][last] == usable["audio"][-1]
    near = literal(banks, "audio", rows["audio"][last], "text", usable["text"], ["u"])
    assert rows["text"][last] == near[0]
    beyond = literal(banks, "text", near[0], "image", usable["image"], ["s", "t"])
    assert rows["image"][last] == beyond[0]


def test_the_space_to_search_in_can_be_chosen(banks):
    found = Retrieval(through={"image": {"text": ["t"]}}).find(banks)
    usable = banks.rows(held_out=False)
    place = int((banks.of["image"].present["t"][usable["image"]]).nonzero()[0])
    near = literal(banks, "image", usable["image"][place], "text", usable["text"], ["t"])
    assert found["text"][place, 0] == near[0]
    with pytest.raises(ConfigError, match="'u'"):
        Retrieval(through={"image": {"text": ["u"]}}).find(banks)
    with pytest.raises(ConfigError, match="'video'"):
        Retrieval(through={"video": {"text": ["u"]}}).find(banks)


def test_held_out_items_pair_with_held_out_items_alone(banks):
    with pytest.raises(ConfigError, match="held-out item"):
        Retrieval().find(banks, held_out=True)  # texts alone are held out


def test_duplicates_are_found_once_and_stand_for_each_other():
    x = F.normalize(vectors(8, 6), dim=1)
    texts = x[[0, 0, 1, 1, 2, 2, 3, 3]]
    banks = Banks({"i": Pool("image", {"s": x}), "w": Pool("text", {"s": texts, "t": texts})})
    pairs = Retrieval(k=4)
    found = pairs.find(banks)
    images = found["text"][:8]
    assert all(len(row.unique()) == 4 for row in images)
    assert set(images.unique().tolist()) == {0, 2, 4, 6}
    drawn = pairs.tuples(banks, found).draw(torch.arange(16), torch.Generator().manual_seed(0))
    for i in range(16):
        same = drawn.meaning == drawn.meaning[i]
        assert len(banks.of["text"].item[drawn.rows["text"][same]].unique()) == 1


def test_each_draw_takes_one_of_the_neighbours(banks):
    pairs = Retrieval(k=3)
    found = pairs.find(banks)
    tuples, source = pairs.tuples(banks, found), torch.Generator().manual_seed(0)
    seen = torch.stack(
        [tuples.draw(torch.arange(len(tuples)), source).rows["text"] for _ in range(40)], dim=1
    )
    for rows, near in zip(seen.tolist(), found["text"].tolist(), strict=True):
        assert set(rows) == (set(near) - {-1} or {-1})


def test_what_a_tuple_lacks_is_zero_and_not_present(banks):
    pairs = Retrieval(noise=0.5)
    tuples = pairs.tuples(banks, pairs.find(banks))
    drawn = tuples.draw(torch.arange(len(tuples)), torch.Generator().manual_seed(0))
    for m, spaces in drawn.vectors.items():
        for s, x in spaces.items():
            here = drawn.present[m][s]
            assert not x[~here].any()
            torch.testing.assert_close(x[here].norm(dim=1), torch.ones(int(here.sum())))


def test_noise_has_the_length_that_was_asked_for():
    banks = Banks(
        {"i": Pool("image", {"s": vectors(200, 64)}), "w": Pool("text", {"s": vectors(200, 64)})}
    )
    plain, noisy = Retrieval(), Retrieval(noise=0.5)
    index, source = torch.arange(400), torch.Generator().manual_seed(0)
    found = plain.find(banks)
    a = plain.tuples(banks, found).draw(index, source).vectors["image"]["s"]
    b = noisy.tuples(banks, found).draw(index, source).vectors["image"]["s"]
    # Of two orthogonal lengths 1 and 0.5, the sum's cosine with the first is this.
    assert float((a * b).sum(dim=1).mean()) == pytest.approx(1 / 1.25**0.5, abs=0.02)


def test_aggregation_is_its_equation(banks, monkeypatch):
    monkeypatch.setattr("mmfuse.binding.aggregation._HELD", 100)  # several blocks
    pairs = Aggregation(temperature=0.1, noise=0.0)
    found = pairs.find(banks)
    tuples = pairs.tuples(banks, found)
    drawn = tuples.draw(torch.arange(len(tuples)), torch.Generator())
    usable = banks.rows(held_out=False)
    of_text = (drawn.rows["text"] >= 0).nonzero().squeeze(1)
    assert set(found) >= {"image", "text"}
    assert "audio" not in found  # which is in one space alone
    for i in of_text[:10].tolist():
        row = int(drawn.rows["text"][i])
        assert drawn.rows["image"][i] == -1
        for s, other in (("s", "image"), ("t", "image"), ("u", "audio")):
            x = banks.of["text"].vectors[s][row]
            torch.testing.assert_close(drawn.vectors["text"][s][i], x)
            bank = banks.of[other]
            there = [r for r in usable[other].tolist() if bank.present[s][r]]
            if not banks.of["text"].present[s][row]:
                assert not drawn.present[other][s][i]
                continue
            power = torch.stack([(x @ bank.vectors[s][r] / 0.1).exp() for r in there])
            mean = sum(
                p / power.sum() * bank.vectors[s][r] for p, r in zip(power, there, strict=True)
            )
            torch.testing.assert_close(drawn.vectors[other][s][i], F.normalize(mean, dim=0))


def test_spaces_without_a_common_item_cannot_be_aggregated():
    apart = Banks(
        {"a": Pool("text", {"s": vectors(5, 3)}), "b": Pool("text", {"t": vectors(5, 3)})}
    )
    with pytest.raises(ConfigError, match="No item is in two spaces"):
        Aggregation().find(apart)


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (Retrieval, {"k": 0}, "k 0"),
        (Retrieval, {"noise": -1.0}, "noise -1"),
        (Retrieval, {"backend": "annoy"}, "annoy"),
        (Aggregation, {"temperature": 0.0}, "temperature 0"),
        (Aggregation, {"noise": float("nan")}, "noise nan"),
    ],
)
def test_options_that_mean_nothing_are_told(make, options, words):
    with pytest.raises(ConfigError, match=words):
        make(**options)


def test_an_item_looks_through_the_spaces_trained_on_its_source():
    """A space of other things is surer of everything, and would win the mean cosine."""
    meaning = F.normalize(vectors(20, 6), dim=1)
    blind = F.normalize(torch.ones(20, 3) + 0.01 * vectors(20, 3), dim=1)
    shuffled = torch.randperm(20, generator=SOURCE)
    images = {"knows": meaning, "foreign": 5 * blind}
    texts = {"knows": meaning[shuffled] + 0.5 * vectors(20, 6), "foreign": blind}
    told = Pool("image", images, trained=["knows"])
    others = Pool("image", {"knows": vectors(7, 6), "foreign": vectors(7, 3)})
    banks = Banks({"told": told, "others": others, "texts": Pool("text", texts)})
    found = Retrieval(k=2).find(banks)["text"]
    rows = torch.arange(20)
    for i in range(20):
        wanted = literal(banks, "image", i, "text", rows, ["knows"])
        assert found[i].tolist() == wanted[:2]
    for i in range(20, 27):  # of pools that do not say, through all
        wanted = literal(banks, "image", i, "text", rows, ["knows", "foreign"])
        assert found[i].tolist() == wanted[:2]
    # Texts, whose pool does not say either, look through all; a choice by hand goes before both.
    backward = Retrieval(k=2).find(banks)["image"][27:]
    wanted = literal(banks, "text", 4, "image", torch.arange(27), ["knows", "foreign"])
    assert backward[4].tolist() == wanted[:2]
    chosen = Retrieval(through={"text": {"image": ["foreign"]}}).find(banks)["text"]
    assert chosen[3, 0] == literal(banks, "image", 3, "text", rows, ["foreign"])[0]
