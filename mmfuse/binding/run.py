"""bind: pools of unpaired items in several frozen spaces -> one space for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmfuse
from mmfuse.binding.banks import Banks
from mmfuse.binding.methods.base import BindingMethod, Task
from mmfuse.binding.pools import Pool
from mmfuse.binding.space import FILE, BoundSpace
from mmfuse.binding.stages import Report, Stages
from mmfuse.features.fingerprint import of_tensors
from mmfuse.recorded import describe
from mmfuse.unit import unit

#: Rows of a modality from which its prior is taken.
_MOST = 8192


def bind(
    pools: Mapping[str, Pool],
    method: BindingMethod,
    base: str,
    seed: int = 0,
    out: str | Path | None = None,
    validation: Sequence[tuple[str, str]] = (),
    report: Report | None = None,
) -> BoundSpace:
    """Binds frozen spaces into one, without any data that pairs what they do not pair.

    Args:
        pools: unpaired items, by the name of their source.
        method: such as ``OmniBind()``.
        base: the space that the others are brought into.
        seed: of all random numbers. The same seed and items give the same space.
        out: a folder for every finished stage and the space. A killed call goes on with the
            stage where it stopped, and gives the same. None keeps nothing.
        validation: pairs of pools whose rows with the same number belong together; ``FreeBind``
            chooses its factors on those that both hold out.
        report: told of each stage, the steps done and the steps in all.

    Raises:
        ConfigError: spaces that nothing joins, an option that the method does not take, or a
            folder that holds something else.
        DataError: a space whose vectors have two widths.
        OutputError: the folder cannot be written.

    Example:
        >>> import torch
        >>> from mmfuse.binding import MeanOfSpaces, Pool, Training, bind
        >>> x = torch.randn(64, 4)
        >>> pools = {
        ...     "pictures": Pool("image", {"see": x}),
        ...     "words": Pool("text", {"see": x + 0.1, "hear": x.flip(1)}),
        ...     "sounds": Pool("audio", {"hear": x.flip(1) + 0.1}),
        ... }
        >>> bound = bind(pools, MeanOfSpaces(training=Training(steps=2), hidden=8), base="see")
        >>> bound.embed("audio", {"hear": x}).shape
        torch.Size([64, 4])
    """
    banks = Banks(pools)
    plan = {
        "mmfuse": mmfuse.__version__,
        "method": describe(method),
        "base": base,
        "seed": seed,
        "pools": [_content(name, pool) for name, pool in pools.items()],  # their order counts
        "validation": [list(pair) for pair in validation],
    }
    method.check(Task(banks, base, Stages(seed), validation))  # before the folder is begun
    stages = Stages(seed, plan, out, report)
    if out is not None and (Path(out) / FILE).is_file():
        return BoundSpace.load(out)
    with torch.random.fork_rng(devices=[]):  # what the caller draws afterwards stays the same
        root = method.build(Task(banks, base, stages, validation))
    spaces_of = {m: list(bank.vectors) for m, bank in banks.of.items()}
    bound = BoundSpace(root, banks.widths, spaces_of).eval().requires_grad_(False)
    bound.prior.copy_(_priors(bound, banks))
    if out is not None:
        bound.save(out)
    return bound


def _priors(bound: BoundSpace, banks: Banks) -> Tensor:
    found = []
    for m, rows in banks.rows(held_out=False).items():
        bank, some = banks.of[m], rows[:: max(1, -(-len(rows) // _MOST))]
        vectors = {s: x[some] for s, x in bank.vectors.items()}
        with torch.no_grad():
            said = bound(m, vectors, {s: here[some] for s, here in bank.present.items()})
        mean = unit(said.vector[said.present].sum(dim=0))
        found.append(mean if mean.any() else bound.prior_of(m))
    return torch.stack(found)


def _content(name: str, pool: Pool) -> dict[str, Any]:
    return {
        "name": name,
        "modality": pool.modality,
        "trained": list(pool.trained),
        "held_out": of_tensors(pool.held_out),
        "vectors": [[s, of_tensors(x, pool.present[s])] for s, x in pool.vectors.items()],
    }
