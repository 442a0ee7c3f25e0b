import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse import Tokens

NAN = float("nan")


@st.composite
def ragged(draw):
    """Tokens with any mask at all, rows without a real token among them."""
    count, longest, width = (
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
    )
    bits = draw(st.lists(st.booleans(), min_size=count * longest, max_size=count * longest))
    torch.manual_seed(draw(st.integers(0, 9)))
    values = torch.randn(count, longest, width, dtype=torch.float64)
    return Tokens(values, torch.tensor(bits).view(count, longest))


def same(found, expected):
    return torch.equal(found.values, expected.values) and torch.equal(found.mask, expected.mask)


@settings(deadline=None)
@given(ragged())
def test_pooled_is_the_mean_of_the_real_tokens_and_zero_without_any(tokens):
    spoilt = Tokens(tokens.values.masked_fill(~tokens.mask.unsqueeze(-1), NAN), tokens.mask)
    for values, mask, found in zip(tokens.values, tokens.mask, spoilt.pooled(), strict=True):
        real = [v for v, m in zip(values, mask, strict=True) if m]
        expected = sum(real) / len(real) if real else torch.zeros(values.shape[1])
        torch.testing.assert_close(found, expected.double())


@settings(deadline=None)
@given(ragged(), st.integers(0, 4), st.randoms(use_true_random=False))
def test_rows_takes_back_what_scatter_spread(tokens, more, random):
    size = len(tokens) + more
    where = torch.tensor(random.sample(range(size), len(tokens)))
    spread = tokens.scatter(where, size)
    assert len(spread) == size
    assert same(spread.rows(where), tokens)
    others = torch.ones(size).bool().index_fill(0, where, False)
    assert not spread.rows(others).mask.any()
    assert not spread.rows(others).values.any()


@settings(deadline=None)
@given(ragged(), st.data())
def test_rows_by_mask_are_rows_by_position(tokens, data):
    chosen = torch.tensor([data.draw(st.booleans()) for _ in range(len(tokens))])
    assert same(tokens.rows(chosen), tokens.rows(chosen.nonzero().squeeze(1)))


@settings(deadline=None)
@given(ragged())
def test_pooling_one_vector_a_row_gives_it_back(tokens):
    vectors = tokens.values[:, 0]
    assert torch.equal(Tokens.of(vectors).pooled(), vectors)
    assert Tokens.of(tokens) is tokens


def test_what_keep_blanks_reaches_no_output_and_no_gradient():
    values = torch.tensor([[[1.0], [2.0]], [[NAN], [NAN]]], requires_grad=True)
    tokens = Tokens(values, torch.tensor([[True, False], [True, True]]))
    kept = tokens.keep(torch.tensor([True, False]))
    assert kept.values.tolist() == [[[1], [0]], [[0], [0]]]
    assert kept.mask.tolist() == [[True, False], [False, False]]
    kept.pooled().square().sum().backward()
    assert values.grad.tolist() == [[[2], [0]], [[0], [0]]]


def test_keep_blanks_text_ids_and_maps_alike():
    for shape in ((2, 3), (2, 3, 4), (2, 3, 4, 5)):
        tokens = Tokens(torch.ones(shape), torch.ones(2, 3).bool())
        kept = tokens.keep(torch.tensor([False, True]))
        assert not kept.values[0].any()
        assert kept.values[1].all()


def test_tokens_scatter_carries_gradients_and_types():
    tokens = Tokens(
        torch.ones(1, 1, 2, dtype=torch.bfloat16, requires_grad=True), torch.ones(1, 1).bool()
    )
    spread = tokens.scatter(torch.tensor([2]), 3)
    assert spread.values.dtype == torch.bfloat16
    spread.values.sum().backward()
    assert tokens.values.grad.tolist() == [[[1, 1]]]


def test_tokens_keep_their_mask_on_another_device():
    tokens = Tokens(torch.zeros(2, 1, 3), torch.tensor([[True], [False]])).to("meta")
    assert tokens.values.device.type == tokens.mask.device.type == "meta"
    assert tokens.mask.dtype == torch.bool
