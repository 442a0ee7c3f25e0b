"""Promises: checks with a name and a sentence, run together and reported together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmfuse.errors import ConformanceError

Subject = TypeVar("Subject")


class _Found(AssertionError):  # noqa: N818  # reads as what it says
    """What a check found instead of what was promised."""


def require(holds: bool | Tensor, found: str) -> None:
    """Breaks the promise under check, saying what was found, unless ``holds``."""
    if not holds:
        raise _Found(found)


def require_equal(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    when: str,
    tolerance: float | None = None,
) -> None:
    """Every named tensor is what it should be: to ``tolerance``, or bit for bit."""
    require(found.keys() == expected.keys(), f"{when}: {sorted(found)}, not {sorted(expected)}")
    for name, want in expected.items():
        got = found[name]
        require(
            got.shape == want.shape,
            f"{name} has shape {tuple(got.shape)} {when}, expected {tuple(want.shape)}",
        )
        if tolerance is None or not want.is_floating_point():
            same = torch.equal(got, want)
        else:
            same = torch.allclose(got, want, rtol=tolerance, atol=tolerance)
        if not same:
            gap = (got.double() - want.double()).abs().max().item()
            raise _Found(f"{name} differs {when} (largest difference {gap:.3g})")


def require_finite(found: Mapping[str, Tensor], when: str) -> None:
    """No named tensor holds NaN or infinity."""
    for name, value in found.items():
        require(value.isfinite().all(), f"{name} holds NaN or infinity {when}")


def keep_promises(name: str, subject: Subject, checks: Iterable[Callable[[Subject], None]]) -> None:
    """Runs every check on ``subject``, each under the same seed.

    Args:
        name: what the report calls the subject.
        subject: what the checks take.
        checks: functions; the first line of each docstring is the promise.

    Raises:
        ConformanceError: with every promise that was broken and what was found.
    """
    broken: dict[str, str] = {}
    cause: Exception | None = None
    for check in checks:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            try:
                check(subject)
            except Exception as error:  # whatever a class raises, it broke its promise
                text = (
                    str(error) if isinstance(error, _Found) else f"{type(error).__name__}: {error}"
                )
                broken[check.__name__] = f"{_sentence(check)} Found: {text}"
                cause = cause or error
    if broken:
        raise ConformanceError(name, broken) from cause


def _sentence(check: Callable[..., Any]) -> str:
    return (check.__doc__ or "").strip().split("\n", 1)[0]


def name_of(make: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """How a report names a class or a factory with its options."""
    if isinstance(make, functools.partial):
        return name_of(make.func, {**make.keywords, **options})
    given = ", ".join(f"{k}={v!r}" for k, v in options.items())
    return f"{getattr(make, '__name__', repr(make))}({given})"
