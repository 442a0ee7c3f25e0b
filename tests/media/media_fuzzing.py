"""Damaged files: real ones with bytes changed, put in and cut away."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: A thousand files.
THOUSAND = settings(
    max_examples=1000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """One of ``files`` with some of its bytes changed, and perhaps its end cut off."""
    content = bytearray(draw(st.sampled_from(files)))
    # Headers are short and matter most.
    place = st.integers(0, len(content) - 1) | st.integers(0, min(80, len(content) - 1))
    for at, value in draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=6)):
        content[at] = value
    if draw(st.booleans()):
        content[(at := draw(place)) : at] = draw(st.binary(max_size=8))
    if draw(st.booleans()):
        del content[draw(place) :]
    return bytes(content)
