"""Labels: the classes that an alignment is scored by, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import Towers
from mmfuse.retrieval.zero_shot import PLAIN, class_vectors, class_words
from mmfuse.spec import DataSpec, TargetSpec


@dataclass(frozen=True)
class Labels:
    """What classes rows are of, and how their names are written.

    Args:
        target: whose classes; the first target with classes by default.
        templates: texts with ``{}`` in the place of a class's name.
        class_names: what a class is called.
    """

    target: str | None = None
    templates: Sequence[str] | None = None
    class_names: dict[str, str] | None = None

    def check(self, model: Towers) -> None:
        """Refuses what the data cannot serve.

        Raises:
            ConfigError: no such target or one without classes; templates or class names where
                there is no text encoder or no class, or that do not fit.
        """
        found = self.of(model.spec)
        asked = self.templates is not None or self.class_names is not None
        if asked and (found is None or not texts(model.spec)):
            what = "no target with classes" if found is None else "no modality of raw text"
            raise ConfigError(f"templates and class_names are given, and the data has {what}.")
        if found is not None and texts(model.spec):
            self._words(found[1])

    def of(self, spec: DataSpec) -> tuple[str, TargetSpec] | None:
        """The target and its name, or None where there are no classes.

        Raises:
            ConfigError: no such target, or one without classes.
        """
        able = {t: s for t, s in spec.targets.items() if s.kind in ("binary", "multiclass")}
        if self.target is not None and self.target not in able:
            raise ConfigError(
                f"target is {self.target!r}; expected one with a class for each row, of "
                f"{list(able)}."
            )
        name = self.target if self.target is not None else next(iter(able), None)
        return None if name is None else (name, able[name])

    def in_batch(self, spec: DataSpec, batch: Batch) -> Tensor | None:
        """The batch's classes (B,), -1 where unknown; None where it does not tell them."""
        found = self.of(spec)
        if found is None or batch.target is None:
            return None
        if isinstance(batch.target, Tensor):
            return batch.target.long()
        return batch.target[found[0]].long() if found[0] in batch.target else None

    def vectors(self, model: Towers) -> tuple[str, Tensor] | None:
        """The text modality and the classes' vectors (C, D); None where names cannot be read."""
        found, able = self.of(model.spec), texts(model.spec)
        if found is None or not able:
            return None
        words = self._words(found[1])
        return able[0], class_vectors(model, able[0], words)

    def _words(self, target: TargetSpec) -> list[list[str]]:
        templates = PLAIN if self.templates is None else self.templates
        return class_words(target, self.class_names, templates)


def texts(spec: DataSpec) -> list[str]:
    """The modalities whose encoders read raw text."""
    return [m for m, s in spec.modalities.items() if s.kind == "text"]
