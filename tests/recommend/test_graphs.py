"""Sparse matrices and graphs beside their definitions, written out densely."""

from __future__ import annotations

import pytest
import torch
from graphs_small import dense, full, graph_data, lists
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.recommend.graphs import (
    SparseMatrix,
    nearest,
    sampled_edges,
    similarity_graph,
    user_item_graph,
)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 20), st.integers(0, 99))
def test_products_both_ways_are_those_of_the_dense_matrix(n, m, count, seed):
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(n, (count,), generator=draw)
    columns = torch.randint(m, (count,), generator=draw)
    values = torch.randn(count, generator=draw)
    matrix = SparseMatrix.of(rows, columns, values, (n, m)).double()
    whole = torch.zeros(n, m, dtype=torch.float64)
    whole.index_put_((rows, columns), values.double(), accumulate=True)
    x, y = (torch.randn(k, 3, generator=draw, dtype=torch.float64) for k in (m, n))
    torch.testing.assert_close(matrix(x), whole @ x, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(matrix.transposed(y), whole.T @ y, atol=1e-6, rtol=1e-6)


def test_the_gradient_is_right_to_the_second_order():
    matrix = user_item_graph(lists()).double()
    x = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix, x)
    assert torch.autograd.gradcheck(matrix.transposed, y)
    assert torch.autograd.gradgradcheck(lambda a: matrix(a).square(), x)


def test_a_checkpoint_brings_a_matrix_of_another_size():
    matrix, empty = user_item_graph(lists()), SparseMatrix()
    empty.load_state_dict(matrix.state_dict())
    x = torch.randn(9, 4)
    assert torch.equal(empty(x), matrix(x))
    damaged = matrix.state_dict() | {"values": torch.ones(1)}
    with pytest.raises(CheckpointError, match="damaged"):
        SparseMatrix().load_state_dict(damaged)


def test_entries_outside_the_shape_are_refused():
    with pytest.raises(ConfigError, match="outside"):
        SparseMatrix.of(torch.tensor([3]), torch.tensor([0]), torch.ones(1), (3, 2))


def test_the_graph_of_users_and_items_is_normalised_by_both_degrees():
    train = lists()
    taken = dense(train)
    expected = torch.zeros_like(taken)
    for u, i in taken.nonzero().tolist():
        expected[u, i] = 1 / (taken[u].sum() * taken[:, i].sum()).sqrt()
    torch.testing.assert_close(full(user_item_graph(train)), expected, atol=1e-7, rtol=1e-6)


def test_a_pruned_graph_has_its_own_degrees():
    train = lists()
    kept = torch.zeros(len(train.items), dtype=torch.bool)
    kept[::2] = True
    users, items = (x[kept] for x in train.pairs())
    left = torch.zeros(7, 9, dtype=torch.float64)
    left[users, items] = 1
    scale = (left.sum(1, keepdim=True) * left.sum(0, keepdim=True)).clamp(min=1).rsqrt()
    torch.testing.assert_close(
        full(user_item_graph(train, kept)), left * scale, atol=1e-7, rtol=1e-6
    )


def test_edges_are_kept_in_proportion_to_their_weight():
    """Two edges out of four, as often as draws without repeats would keep them."""
    train = lists(3, 3, share=0.9, seed=1)
    weights = full(user_item_graph(train))
    users, items = train.pairs()
    p = weights[users, items]
    p = p / p.sum()
    counts, times = torch.zeros(len(p)), 4000
    for seed in range(times):
        kept = sampled_edges(train, 1 / len(p), torch.Generator().manual_seed(seed))
        assert kept.sum() == 1
        counts += kept
    torch.testing.assert_close(counts.double() / times, p, atol=0.03, rtol=0)


def test_the_nearest_are_found_among_those_present():
    draw = torch.Generator().manual_seed(3)
    vectors = torch.randn(9, 4, generator=draw)
    present = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1, 1]).bool()
    source, target, cosine = nearest(vectors, present, 3)
    rows = present.nonzero().squeeze(1).tolist()
    assert source.unique().tolist() == rows
    for i in rows:
        others = sorted(rows, key=lambda j: -cosine_similarity(vectors[i], vectors[j], dim=0))
        assert target[source == i].tolist() == others[:3]
        assert cosine[source == i][0] == pytest.approx(1)


def test_more_neighbours_than_items_are_all_of_them_and_no_item_is_no_edge():
    vectors = torch.randn(3, 2)
    source, _, _ = nearest(vectors, torch.tensor([True, True, False]), 10)
    assert source.tolist() == [0, 0, 1, 1]
    assert not len(nearest(vectors, torch.zeros(3, dtype=torch.bool), 2)[0])


def test_the_item_graph_blends_what_an_item_has():
    data, weights = graph_data(), {"image": 0.25, "text": 0.75}
    found = full(similarity_graph(data.features, data.present, 3, weights))
    expected = torch.zeros(9, 9, dtype=torch.float64)
    for m, w in weights.items():
        source, target, _ = nearest(data.features[m], data.present[m], 3)
        for i, j in zip(source.tolist(), target.tolist(), strict=True):
            has = sum(v for n, v in weights.items() if data.present[n][i])
            expected[i, j] += w / has / 3  # every present item has three neighbours
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)
    assert not found[3].any()
    torch.testing.assert_close(found[2].sum(), torch.tensor(1.0).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_forth_and_back(dtype):
    matrix = user_item_graph(lists())
    x = torch.randn(9, 4).to(dtype).requires_grad_()
    made = matrix(x)
    made.sum().backward()
    assert made.dtype == x.grad.dtype == dtype
    expected = full(matrix).float()
    torch.testing.assert_close(made.float(), expected @ x.float(), atol=0.02, rtol=0.02)
    torch.testing.assert_close(x.grad.float()[:, 0], expected.sum(0), atol=0.02, rtol=0.02)


def test_a_graph_first_used_in_evaluation_can_be_trained_along():
    matrix, x = user_item_graph(lists()), torch.randn(9, 4, requires_grad=True)
    with torch.inference_mode():
        matrix(x)
    matrix(x).sum().backward()
    torch.testing.assert_close(x.grad[:, 0], full(matrix).float().sum(0))


def test_views_that_are_not_contiguous_are_read_right():
    matrix, x = user_item_graph(lists()), torch.randn(4, 9)
    assert torch.equal(matrix(x.T), matrix(x.T.contiguous()))
