"""A small catalogue for tests of graphs: lists of few users, features of which some are absent."""

import torch

from mmfuse.recommend import ItemLists
from mmfuse.recommend.propagation import GraphData


def lists(users=7, items=9, share=0.4, seed=0):
    """Random lists; the last user took nothing, and nobody took the last item."""
    draw = torch.Generator().manual_seed(seed)
    taken = torch.rand(users, items, generator=draw) < share
    taken[-1], taken[:, -1] = False, False
    user, item = taken.nonzero(as_tuple=True)
    return ItemLists.of(user, item, users, items)


def dense(train):
    """The interactions as a matrix (U, I), float64."""
    users, items = train.pairs()
    matrix = torch.zeros(len(train), train.count, dtype=torch.float64)
    matrix[users, items] = 1
    return matrix


def full(matrix):
    """A sparse matrix written out, float64."""
    found = torch.zeros(matrix.shape, dtype=torch.float64)
    rows, columns, values = matrix.entries()
    found[rows, columns] = values.double()
    return found


def graph_data(seed=0):
    """Two modalities; item 2 lacks the image, item 3 both."""
    draw = torch.Generator().manual_seed(seed)
    train = lists(seed=seed)
    features = {m: torch.randn(9, w, generator=draw) for m, w in {"image": 5, "text": 4}.items()}
    present = {m: torch.ones(9, dtype=torch.bool) for m in features}
    present["image"][[2, 3]], present["text"][3] = False, False
    return GraphData(train, features, present)
