"""The largest H(Y | X1, X2) that two margins allow, by conic solvers that are not ours."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp


def _margins(p: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """``A q = b`` for the margins of q(x1, y) and q(x2, y), without the redundant ones."""
    c1, c2, k = p.shape
    one, two, label = sp.identity(c1), sp.identity(c2), sp.identity(k)
    first = sp.kron(one, sp.kron(np.ones((1, c2)), label))
    # The last of x2 follows from the others and from p(y).
    second = sp.kron(np.ones((1, c1)), sp.kron(two.tocsr()[:-1], label))
    return sp.vstack([first, second]).tocsr(), np.r_[p.sum(1).ravel(), p.sum(0)[:-1].ravel()]


def largest_by_ecos(p: np.ndarray) -> float:
    """Bits, by ECOS: maximise sum r where q exp(r / q) <= Q in every cell."""
    ecos = pytest.importorskip("ecos")
    n, k = p.size, p.shape[2]
    matrix, right = _margins(p)
    pair = sp.kron(sp.identity(n // k), np.ones((k, k)))
    none = sp.csr_matrix((n, n))
    cone = sp.vstack([sp.hstack([-sp.identity(n), none]), sp.hstack([none, -pair])])
    cone = sp.vstack([cone, sp.hstack([none, -sp.identity(n)])]).tocsr()
    # ECOS wants (r, Q, q) of each cell in turn.
    cone = cone[np.arange(3 * n).reshape(3, n).T.ravel()].tocsc()
    found = ecos.solve(
        np.r_[-np.ones(n), np.zeros(n)],
        cone,
        np.zeros(3 * n),
        {"l": 0, "q": [], "e": n},
        sp.hstack([sp.csr_matrix((matrix.shape[0], n)), matrix]).tocsc(),
        right,
        verbose=False,
        max_iters=300,
    )
    return float(found["x"][:n].sum() / np.log(2))


def largest_by_cvxpy(p: np.ndarray) -> float:
    """Bits, by cvxpy and its default solver for exponential cones."""
    cp = pytest.importorskip("cvxpy")
    n, k = p.size, p.shape[2]
    matrix, right = _margins(p)
    q = cp.Variable(n, nonneg=True)
    pair = sp.kron(sp.identity(n // k), np.ones((k, k)))
    problem = cp.Problem(cp.Maximize(-cp.sum(cp.rel_entr(q, pair @ q))), [matrix @ q == right])
    return float(problem.solve() / np.log(2))
