"""pairs_of: which modalities are compared with which."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mmfuse.errors import ConfigError, UnknownModalityError

Pairs = Sequence[Sequence[str]] | str | None


def pairs_of(
    modalities: Sequence[str], pairs: Pairs = None, ordered: bool = False
) -> list[tuple[str, str]]:
    """The pairs of modalities that ``pairs`` means.

    Args:
        modalities: all there are, in order.
        pairs: ``all`` (and None), ``ring`` (each with the next, the last with the first),
            ``anchor:NAME`` (NAME with each other one), or a list of pairs.
        ordered: whether (a, b) and (b, a) are two pairs. Then ``all`` has both, and so has the
            ring of two; otherwise the first of them stands for both.

    Raises:
        ConfigError: fewer than two modalities, an unknown word, or something that is no pair.
        UnknownModalityError: a name that is not among ``modalities``.

    Example:
        >>> pairs_of(("image", "sound", "text"), "ring")
        [('image', 'sound'), ('sound', 'text'), ('text', 'image')]
        >>> pairs_of(("image", "sound", "text"), "anchor:text")
        [('text', 'image'), ('text', 'sound')]
    """
    if len(modalities) < 2:
        raise ConfigError(
            f"Pairs need two different modalities; there is {list(modalities)}. Add a modality, "
            "or drop the objective."
        )
    found = _named(modalities, pairs) if isinstance(pairs, str | None) else _listed(pairs)
    if unknown := {m for pair in found for m in pair} - set(modalities):
        raise UnknownModalityError(
            f"pairs names {sorted(unknown)}; the modalities are {list(modalities)}."
        )
    if ordered:
        return list(dict.fromkeys(found))
    first: dict[frozenset[str], tuple[str, str]] = {}
    for pair in found:
        first.setdefault(frozenset(pair), pair)
    return list(first.values())


def _named(modalities: Sequence[str], word: str | None) -> list[tuple[str, str]]:
    if word is None or word == "all":
        return list(itertools.permutations(modalities, 2))
    if word == "ring":
        return list(zip(modalities, [*modalities[1:], modalities[0]], strict=True))
    kind, _, anchor = word.partition(":")
    if kind == "anchor" and anchor:
        return [(anchor, m) for m in modalities if m != anchor]
    raise ConfigError(
        f"pairs is {word!r}; expected 'all', 'ring', 'anchor:NAME' with one of "
        f"{list(modalities)}, or a list of pairs such as [[{modalities[0]}, {modalities[1]}]]."
    )


def _listed(pairs: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    wrong = [p for p in pairs if isinstance(p, str) or len(p) != 2 or len(set(p)) != 2]
    if wrong or not pairs:
        raise ConfigError(
            f"pairs is {[p if isinstance(p, str) else list(p) for p in pairs]}; expected a list "
            "of pairs of two different modalities."
        )
    return [(a, b) for a, b in pairs]
