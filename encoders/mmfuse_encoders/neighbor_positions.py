"""Where each neighbour of a set stands: by its place in the list, or by a graph among them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Eigenvalues of a normalised Laplacian lie in [0, 2]; that of padding stands behind them all.
_PADDING = 3.0
# Eigenvalues this near to one another count as one, weights this small a share of a graph's
# largest one as none: standardising an adjacency and undoing it leaves as much in float32.
_NEAR = 1e-4
_NOTHING = 1e-5


class IndexPosition(nn.Module):
    """A learned vector for the first neighbour, the second and so on; index 0 is padding.

    Args:
        most: indices with a vector of their own; later neighbours share the last one's.
        width: width of the vectors.

    Shape:
        states (B, N, width), mask (B, N), edges (B, N, N) -> what to add, (B, N, width)
    """

    def __init__(self, most: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(most + 1, width, padding_idx=0)

    def forward(self, states: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Looks the indices up."""
        index = mask.cumsum(dim=1).clamp(max=self.table.num_embeddings - 1)
        return self.table(index * mask)


class LaplacianPosition(nn.Module):
    """A linear map of where a neighbour stands in the graph's first Laplacian eigenvectors.

    Args:
        count: eigenvectors that it reads.
        width: width of the result.

    Shape:
        states (B, N, width), mask (B, N), edges (B, N, N) -> what to add, (B, N, width)
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(count, width)

    def forward(self, states: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Maps the eigenvectors' sizes at each neighbour."""
        return self.map(laplacian_sizes(edges, mask, self.map.in_features).to(states.dtype))


class GraphPosition(nn.Module):
    """Two steps of message passing over the graph, from what the neighbours are.

    ::

        h_1 = ReLU(W_1 [X, A X] + b_1)       h_2 = W_2 [h_1, A h_1] + b_2

    Args:
        width: width of the states.

    Shape:
        states (B, N, width), mask (B, N), edges (B, N, N) -> what to add, (B, N, width)
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * width, width), nn.Linear(2 * width, width)

    def forward(self, states: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        """Passes the messages."""
        inner = self.first(torch.cat([states, edges @ states], dim=2)).relu()
        return self.second(torch.cat([inner, edges @ inner], dim=2))


@torch.no_grad()
def laplacian_sizes(edges: Tensor, mask: Tensor, count: int) -> Tensor:
    """How large each of the first Laplacian eigenvectors is at each node.

    For an eigenvector u_j of the symmetrically normalised Laplacian, in the order of
    eigenvalues, that is ``|u_j[i]|``, so that neither of its two signs is preferred. Where an
    eigenvalue has several eigenvectors, any rotation of them is as good, and the root of their
    mean square stands for each. Zero for padding, and where a graph has fewer nodes.

    Args:
        edges: ``(B, N, N)`` weights; both directions count half, and neither a negative
            weight nor an edge to itself counts.
        mask: ``(B, N)``, which nodes are real.
        count: number of eigenvectors.

    Shape:
        -> (B, N, count), float64
    """
    weights = ((edges + edges.mT) / 2).double().clamp(min=0)
    weights = weights - torch.diag_embed(weights.diagonal(dim1=1, dim2=2))
    weights = weights.where(weights > _NOTHING * weights.amax(dim=(1, 2), keepdim=True), 0)
    degree = weights.sum(dim=2)
    is_linked = degree > 0
    root = degree.where(is_linked, 1).rsqrt()
    diagonal = is_linked.double().masked_fill(~mask, _PADDING)
    laplacian = torch.diag_embed(diagonal) - root.unsqueeze(2) * weights * root.unsqueeze(1)
    values, vectors = torch.linalg.eigh(laplacian)
    is_tied = ((values.unsqueeze(2) - values.unsqueeze(1)).abs() < _NEAR).double()
    mean = vectors.square() @ is_tied / is_tied.sum(dim=1, keepdim=True)
    is_real = mask.unsqueeze(2) & (values < (2 + _PADDING) / 2).unsqueeze(1)
    sizes = mean.sqrt().masked_fill(~is_real, 0)[:, :, :count]
    return F.pad(sizes, (0, count - sizes.shape[2]))
