"""The exact decomposition beside a conic solver, at the same objective: time and ratio.

The conic solver is cvxpy's default for exponential cones, on the whole problem of one joint
distribution: building it, and solving it once more with other numbers. With ``--direct``, ECOS is
given its cones without cvxpy, which leaves out all that cvxpy does before; scikit-survival
brings it.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp
from ratio import compare, seconds

from mmfuse.robustness.interactions.least import least_informative

Joint = np.ndarray


def margins(p: Joint) -> tuple[sp.csr_matrix, np.ndarray]:
    """``A q = b``: q(x1, y) and q(x2, y), without the equations that follow from others."""
    c1, c2, k = p.shape
    first = sp.kron(sp.identity(c1), sp.kron(np.ones((1, c2)), sp.identity(k)))
    second = sp.kron(np.ones((1, c1)), sp.kron(sp.identity(c2).tocsr()[:-1], sp.identity(k)))
    return sp.vstack([first, second]).tocsr(), np.r_[p.sum(1).ravel(), p.sum(0)[:-1].ravel()]


def pair_sums(p: Joint) -> sp.csr_matrix:
    """Each cell's q(x1, x2)."""
    k = p.shape[2]
    return sp.kron(sp.identity(p.size // k), np.ones((k, k))).tocsr()


def ours(p: Joint) -> float:
    """Bits of H(Y | X1, X2) at the least informative coupling."""
    return least_informative(p.sum(1), p.sum(0)).uncertainty


def by_cvxpy(p: Joint) -> float:
    """The same with cvxpy."""
    import cvxpy as cp

    matrix, right = margins(p)
    q = cp.Variable(p.size, nonneg=True)
    wanted = cp.Maximize(-cp.sum(cp.rel_entr(q, pair_sums(p) @ q)))
    return float(cp.Problem(wanted, [matrix @ q == right]).solve() / np.log(2))


def by_ecos(p: Joint) -> float:
    """The same with ECOS: maximise sum r where q exp(r / q) <= q(x1, x2) in every cell."""
    import ecos

    n = p.size
    matrix, right = margins(p)
    one, none = sp.identity(n), sp.csr_matrix((n, n))
    rows = [sp.hstack([-one, none]), sp.hstack([none, -pair_sums(p)]), sp.hstack([none, -one])]
    cones = sp.vstack(rows).tocsr()[np.arange(3 * n).reshape(3, n).T.ravel()].tocsc()
    equal = sp.hstack([sp.csr_matrix((matrix.shape[0], n)), matrix]).tocsc()
    cost = np.r_[-np.ones(n), np.zeros(n)]
    sizes = {"l": 0, "q": [], "e": n}
    found = ecos.solve(cost, cones, np.zeros(3 * n), sizes, equal, right, verbose=False)
    return float(found["x"][:n].sum() / np.log(2))


def main() -> None:
    """Checks that both find one objective, then compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--support", type=int, nargs=3, default=[20, 20, 10])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--direct", action="store_true", help="ECOS itself instead of cvxpy")
    given = parser.parse_args()
    solver, name = (by_ecos, "ecos") if given.direct else (by_cvxpy, "cvxpy")
    if find_spec(name) is None:
        sys.exit(f"{name} is not installed: `pip install {name}`, or run with --direct for ECOS.")
    shape = tuple(given.support)
    p = np.random.default_rng(0).dirichlet(np.ones(np.prod(shape))).reshape(shape)
    difference = abs(ours(p) - solver(p))
    assert difference < 1e-6, f"The objectives differ by {difference:.1e} bits"
    ratios = compare(
        f"Decomposition of a joint distribution on {' x '.join(map(str, shape))}",
        {
            "ours": partial(seconds, partial(ours, p), 5),
            name: partial(seconds, partial(solver, p)),
        },
        given.rounds,
        target="at most 1/50 = 0.02 of cvxpy's time, objectives within 1e-6 bits",
    )
    print(
        f"1 / {1 / np.median(ratios):.0f} of the time; objectives differ by {difference:.1e} bits"
    )


if __name__ == "__main__":
    main()
