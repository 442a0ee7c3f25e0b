"""The encoder of a set of neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse.standardise import Standardise
from mmfuse.testing.encoder import ENCODER_CHECKS, EncoderSubject
from mmfuse.testing.promises import keep_promises
from mmfuse.testing.values import stirred
from mmfuse.tokens import Tokens
from mmfuse_encoders import NeighborEncoder
from mmfuse_encoders.neighbor_positions import laplacian_sizes

POSITIONS = ["none", "index", "laplacian", "gnn"]
GRAPHS = ["laplacian", "gnn"]
NODES = 6
SMALL = {"out_dim": 3, "hidden": 4, "k": 2, "heads": 2, "most": 5, "eigenvectors": 3}


def build(position: str = "none", spec=None, **options) -> NeighborEncoder:
    spec = spec or ModalitySpec("tokens", (None, 2 + NODES))
    options = {**SMALL, "adjacency": NODES, "position": position, **options}
    return stirred(NeighborEncoder(spec, **options)).double().eval()


def row_of(graph: torch.Tensor) -> torch.Tensor:
    """One row (1, N, 2 + NODES): random features, then the adjacency matrix."""
    features = torch.randn(len(graph), 2, dtype=torch.float64)
    columns = torch.zeros(len(graph), NODES, dtype=torch.float64)
    columns[:, : len(graph)] = graph
    return torch.cat([features, columns], dim=1).unsqueeze(0)


def relabelled(row: torch.Tensor, order: list[int]) -> torch.Tensor:
    """The same neighbours with the same edges in another order."""
    features, columns = row[0, order, :2], row[0, order, 2:]
    graph = columns[:, order]
    return torch.cat([features, graph, columns[:, len(order) :]], dim=1).unsqueeze(0)


@st.composite
def graphs(draw) -> torch.Tensor:
    """Adjacency matrices without weights, where eigenvalues often coincide."""
    nodes = draw(st.integers(1, NODES))
    pairs = [(i, j) for i in range(nodes) for j in range(i)]
    graph = torch.zeros(nodes, nodes, dtype=torch.float64)
    for i, j in draw(st.sets(st.sampled_from(pairs))) if pairs else ():
        graph[i, j] = graph[j, i] = 1
    return graph


def star(nodes: int) -> torch.Tensor:
    graph = torch.zeros(nodes, nodes, dtype=torch.float64)
    graph[0, 1:] = graph[1:, 0] = 1
    return graph


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("neighbors", [4, None])
def test_every_promise_of_an_encoder_is_kept(position, tokens, neighbors):
    most = neighbors or 13  # in the kit's ragged sample
    spec = ModalitySpec("tokens", (neighbors, 2 + most))

    def make(spec, **options):
        return NeighborEncoder(
            spec, **SMALL, position=position, tokens=tokens, adjacency=most, **options
        )

    keep_promises(f"NeighborEncoder({position})", EncoderSubject(make, spec), ENCODER_CHECKS)


@pytest.mark.parametrize("position", ["none", *GRAPHS])
@settings(max_examples=40, deadline=None)
@given(graph=graphs(), data=st.data())
def test_the_order_of_neighbours_counts_for_nothing(position, graph, data):
    encoder, row = build(position), row_of(graph)
    order = data.draw(st.permutations(range(len(graph))))
    torch.testing.assert_close(encoder(relabelled(row, order)), encoder(row))


def test_with_an_index_the_order_of_neighbours_counts():
    encoder, row = build("index"), row_of(star(4))
    assert (encoder(relabelled(row, [1, 0, 2, 3])) - encoder(row)).abs().max() > 1e-3


@pytest.mark.parametrize("position", GRAPHS)
def test_the_edges_count(position):
    encoder, row = build(position), row_of(star(4))
    other = row.clone()
    other[0, 1, 4] = other[0, 2, 3] = 1
    assert (encoder(other) - encoder(row)).abs().max() > 1e-3


@pytest.mark.parametrize("position", ["none", "index"])
def test_a_position_without_a_graph_leaves_its_columns_out(position):
    encoder, row = build(position), row_of(star(4))
    assert torch.equal(encoder(row.index_fill(2, torch.arange(2, 2 + NODES), 7.0)), encoder(row))


@pytest.mark.parametrize("position", POSITIONS)
@settings(max_examples=25, deadline=None)
@given(graph=graphs(), extra=st.integers(1, 4))
def test_padding_may_hold_anything_and_edges_to_it_count_for_nothing(position, graph, extra):
    encoder, row = build(position), row_of(graph)
    nodes = len(graph)
    values = torch.full((1, nodes + extra, 2 + NODES), float("nan"), dtype=torch.float64)
    values[:, :nodes] = row
    values[:, :nodes, 2 + nodes :] = 5.0
    mask = torch.arange(nodes + extra).unsqueeze(0) < nodes
    torch.testing.assert_close(encoder(Tokens(values, mask)), encoder(row))


def literal_pooling(encoder: NeighborEncoder, states: torch.Tensor) -> torch.Tensor:
    """The learned query's view of tokens (T, hidden), one head at a time."""
    attention, width = encoder.attention, states.shape[1]
    weight, bias = attention.in_proj_weight.split(width), attention.in_proj_bias.split(width)
    query = weight[0] @ encoder.query + bias[0]
    keys, values = (states @ w.T + b for w, b in zip(weight[1:], bias[1:], strict=True))
    found, size = [], width // attention.num_heads
    for h in range(attention.num_heads):
        here = slice(h * size, (h + 1) * size)
        scores = torch.stack([query[here] @ key[here] / size**0.5 for key in keys])
        found.append(scores.softmax(dim=0) @ values[:, here])
    mixed = attention.out_proj.weight @ torch.cat(found) + attention.out_proj.bias
    return encoder.readout(mixed)


def literal_states(encoder: NeighborEncoder, row: torch.Tensor, added: list) -> torch.Tensor:
    """Tokens (N * k, hidden) of one row, neighbour by neighbour and token by token."""
    found = []
    for i, neighbor in enumerate(row[0]):
        wide = encoder.map.weight @ neighbor[:2] + encoder.map.bias + added[i]
        for part in wide.split(4):
            centred = part - part.mean()
            normed = centred / (centred.square().mean() + encoder.norm.eps).sqrt()
            found.append(normed * encoder.norm.weight + encoder.norm.bias)
    return torch.stack(found)


def linear(layer, x):
    return layer.weight @ x + layer.bias


def literal_gnn(encoder: NeighborEncoder, row: torch.Tensor) -> list[torch.Tensor]:
    """Message passing, node by node and edge by edge."""
    nodes = row.shape[1]
    x = [linear(encoder.map, neighbor[:2]) for neighbor in row[0]]

    def around(h, i):
        return sum((row[0, i, 2 + j] * h[j] for j in range(nodes)), torch.zeros_like(h[0]))

    first, second = encoder.position.first, encoder.position.second
    inner = [linear(first, torch.cat([x[i], around(x, i)])).clamp(min=0) for i in range(nodes)]
    return [linear(second, torch.cat([inner[i], around(inner, i)])) for i in range(nodes)]


@pytest.mark.parametrize("position", POSITIONS)
def test_it_follows_its_equation(position):
    encoder = build(position)
    weighted = torch.rand(5, 5, dtype=torch.float64)  # not symmetric: messages have a direction
    row = row_of(weighted)
    added = {
        "none": lambda: [0] * 5,
        "index": lambda: [encoder.position.table.weight[i + 1] for i in range(5)],
        "laplacian": lambda: [linear(encoder.position.map, s) for s in literal_sizes(weighted)],
        "gnn": lambda: literal_gnn(encoder, row),
    }[position]()
    states = literal_states(encoder, row, added)
    torch.testing.assert_close(encoder(row)[0], literal_pooling(encoder, states))
    every = build(position, tokens=True)
    every.load_state_dict(encoder.state_dict(), strict=False)
    found = every(row)
    assert found.mask.all()
    torch.testing.assert_close(
        found.values[0], states @ every.readout.weight.T + every.readout.bias
    )


def literal_sizes(graph: torch.Tensor, count: int = 3) -> torch.Tensor:
    """Absolute values of a graph's first eigenvectors, where no eigenvalues coincide."""
    weights = ((graph + graph.T) / 2).numpy().copy()
    np.fill_diagonal(weights, 0)
    degree = weights.sum(axis=1)
    laplacian = np.eye(len(graph)) - weights / np.sqrt(np.outer(degree, degree))
    values, vectors = np.linalg.eig(laplacian)
    return torch.from_numpy(np.abs(vectors[:, np.argsort(values)][:, :count]))


def test_eigenvectors_of_small_graphs_are_those_of_the_textbook():
    every = torch.ones(1, 4, dtype=torch.bool)
    two = torch.zeros(1, 4, 4)
    two[0, :2, :2] = 1
    # An edge and two nodes apart: the eigenvalue 0 thrice, shared by each node of its part.
    found = laplacian_sizes(two, every, 4)[0]
    expected = torch.tensor([[(1 / 2 / 3) ** 0.5] * 3 + [0.5**0.5]] * 2 + [[3**-0.5] * 3 + [0]] * 2)
    torch.testing.assert_close(found, expected.double())
    # A star: 0, then 1 twice with nothing at the centre, then 2.
    found = laplacian_sizes(star(4).unsqueeze(0), every, 4)[0]
    centre, ray = [0.5**0.5, 0, 0, 0.5**0.5], [6**-0.5, 3**-0.5, 3**-0.5, 6**-0.5]
    torch.testing.assert_close(found, torch.tensor([centre, ray, ray, ray]).double())


@settings(max_examples=25, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 99))
def test_signs_and_rotations_that_the_solver_picks_change_nothing(graph, seed):
    graph, mask = graph.unsqueeze(0), torch.ones(1, len(graph), dtype=torch.bool)
    expected = laplacian_sizes(graph, mask, 4)
    solve = torch.linalg.eigh

    def other(matrix):
        """Another answer, as right: every eigenspace turned at random."""
        values, vectors = solve(matrix)
        source = torch.Generator().manual_seed(seed)
        for value in values[0].round(decimals=6).unique():
            here = (values[0] - value).abs() < 1e-5
            size = int(here.sum())
            turn = torch.linalg.qr(torch.randn(size, size, generator=source).double()).Q
            vectors[0][:, here] = vectors[0][:, here] @ turn
        torch.testing.assert_close(matrix @ vectors, vectors * values.unsqueeze(1))
        return values, vectors

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.linalg, "eigh", other)
        torch.testing.assert_close(laplacian_sizes(graph, mask, 4), expected)


@pytest.mark.parametrize("position", GRAPHS)
def test_standardising_the_adjacency_columns_is_undone(position):
    graph = star(NODES)
    row = row_of(graph)
    spec = ModalitySpec(
        "tokens",
        (None, 2 + NODES),
        mean=(0.0, 0.0, *[0.1 + 0.1 * i for i in range(NODES)]),
        std=(1.0, 1.0, *[0.3 + 0.07 * i for i in range(NODES)]),
    )
    plain, told = build(position), build(position, spec)
    told.load_state_dict(plain.state_dict())
    standardised = Standardise(spec).double()(row)
    assert (standardised - row).abs().max() > 0.1
    torch.testing.assert_close(told(standardised), plain(row), rtol=1e-5, atol=1e-6)
    # In float32 the zeros come back as almost zero, and must not become edges of a new graph.
    found = told.float()(Standardise(spec)(row.float()))
    torch.testing.assert_close(found, plain.float()(row.float()), rtol=1e-3, atol=1e-4)


def test_index_zero_is_padding_which_has_no_vector_and_learns_none():
    encoder = NeighborEncoder(ModalitySpec("tokens", (None, 2)), **SMALL, position="index")
    mask = torch.tensor([[True, False, True, False]])
    added = encoder.position(torch.zeros(1, 4, 8), mask, torch.zeros(1, 4, 0))
    table = encoder.position.table.weight
    torch.testing.assert_close(added[0], table[[1, 0, 2, 0]])
    assert table[0].abs().max() == 0
    added.sum().backward()
    assert table.grad[0].abs().max() == 0
    assert table.grad[1:3].abs().min() > 0


def test_neighbours_beyond_the_last_index_share_its_vector():
    encoder = NeighborEncoder(ModalitySpec("tokens", (None, 2)), **SMALL, position="index")
    mask = torch.ones(1, 8, dtype=torch.bool)
    added = encoder.position(torch.zeros(1, 8, 8), mask, torch.zeros(1, 8, 0))
    assert torch.equal(added[0, 4:], encoder.position.table.weight[5].expand(4, -1))


def test_tokens_are_k_for_each_neighbour_and_padding_has_none():
    encoder = build(tokens=True, k=3)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = encoder(Tokens(torch.randn(2, 3, 2 + NODES, dtype=torch.float64), mask))
    assert found.values.shape == (2, 9, 3)
    assert found.mask.tolist() == [[True] * 6 + [False] * 3, [True] * 3 + [False] * 6]


@pytest.mark.parametrize("position", POSITIONS)
def test_it_trains_on_one_neighbour_of_one_row(position, trains_on_one_row):
    trains_on_one_row(build(position).float(), torch.randn(1, 1, 2 + NODES))


def shuffled(graphs: list[torch.Tensor], kinds: list[int]) -> torch.Tensor:
    """One row for each graph, in an order of its own, its neighbours of two noisy kinds."""
    rows = []
    for graph in graphs:
        kind = torch.eye(2)[kinds] + 0.1 * torch.randn(len(kinds), 2)
        order = torch.randperm(len(kinds))
        columns = torch.zeros(len(kinds), NODES)
        columns[:, : len(kinds)] = graph[order][:, order]
        rows.append(torch.cat([kind[order], columns], dim=1))
    return torch.stack(rows)


def edges(*pairs: tuple[int, int]) -> torch.Tensor:
    graph = torch.zeros(4, 4)
    for i, j in pairs:
        graph[i, j] = graph[j, i] = 1
    return graph


@pytest.mark.parametrize("position", GRAPHS)
def test_graph_positions_learn_which_kind_is_in_the_middle(position, learns):
    hubs = [edges((0, 1), (0, 2), (0, 3)), edges((3, 0), (3, 1), (3, 2))]
    labels = torch.arange(80) % 2
    x = shuffled([hubs[label] for label in labels], kinds=[0, 0, 1, 1])
    learns(build(position, hidden=8, out_dim=8).float(), x, labels, steps=120)


def test_messages_learn_whether_links_join_equal_kinds(learns):
    linked = [edges((0, 1), (2, 3)), edges((0, 2), (1, 3))]
    labels = torch.arange(80) % 2
    x = shuffled([linked[label] for label in labels], kinds=[0, 0, 1, 1])
    learns(build("gnn", hidden=8, out_dim=8).float(), x, labels, steps=120)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ((4, 9), {"position": "gnn"}, r"'gnn' with adjacency=0 for 4 neighbours"),
        ((4, 9), {"position": "laplacian", "adjacency": 3}, "adjacency=3 for 4 neighbours"),
        ((None, 9), {"position": "gnn"}, "adjacency=0 for any number of neighbours"),
        ((4, 4), {"position": "gnn", "adjacency": 4}, "adjacency=4 of 4 columns leaves 0"),
        ((4, 4), {"adjacency": -1}, "adjacency=-1 of 4 columns"),
        ((4, 9), {"heads": 3}, "hidden 4 is no multiple of 3 heads"),
    ],
)
def test_what_cannot_be_is_refused(spec, options, said):
    with pytest.raises(ConfigError, match=said):
        NeighborEncoder(ModalitySpec("tokens", spec), **{**SMALL, **options})


def test_a_row_with_more_neighbours_than_columns_for_edges_is_refused():
    encoder = build("gnn")
    x = torch.randn(2, NODES + 1, 2 + NODES, dtype=torch.float64)
    with pytest.raises(DataError, match="more than 6 neighbours"):
        encoder(x)
