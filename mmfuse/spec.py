"""DataSpec: what each modality and each target looks like.

The data layer makes it, the model is built from it, the checkpoint keeps it. So nobody
types a width or a number of classes into a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any, Literal

from torch.nn import ModuleDict, ParameterDict

from mmfuse.batch import Batch, RawInput
from mmfuse.errors import DataError, UnknownModalityError
from mmfuse.target_spec import TargetKind, TargetSpec
from mmfuse.tokens import Tokens

__all__ = ["DataSpec", "Kind", "ModalitySpec", "TargetKind", "TargetSpec"]

Kind = Literal["vector", "table", "image", "series", "text", "tokens", "audio", "video"]


@dataclass(frozen=True)
class ModalitySpec:
    """What one modality's input looks like.

    Args:
        kind: ``vector`` (C,); ``table`` (C,) whose last columns may be category codes;
            ``image`` (channels, height, width); ``series`` (steps, channels), where steps
            may be None for unequal lengths; ``text`` strings; ``tokens`` (steps, width);
            ``audio`` and ``video`` recordings.
        shape: one row's shape, without the batch axis. Empty for text, and for pictures,
            sounds and videos that an encoder's ``preprocess`` turns into tensors.
        categories: for a table, how many codes each categorical column has. Those columns
            stand last; code 0 means missing or unseen in training.
        levels: the names behind codes 1 upwards of each categorical column, where known.
        columns: the source columns' names, where there are any.
        mean: what to subtract from each feature, empty for no standardisation: its training
            mean, or its minimum where data are scaled by their range. Features lie on the
            last axis, for images on the first.
        std: what to divide each feature by then: its training deviation, or its range; never
            zero.
        rate: for audio, samples a second that every row must have; 0 for any.
        has_gaps: cells of a present row may be missing (NaN); an encoder must take them.

    Example:
        >>> ModalitySpec.of(200).width
        200
    """

    kind: Kind
    shape: tuple[int | None, ...] = ()
    categories: tuple[int, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    rate: int = 0
    has_gaps: bool = False

    def __post_init__(self) -> None:
        if self.rate < 0 or (self.rate and self.kind != "audio"):
            raise DataError(
                f"A {self.kind} modality has the rate {self.rate}. A rate is samples a second of "
                "audio; leave it out elsewhere."
            )
        if len(self.mean) != len(self.std) or min(self.std, default=1) <= 0:
            raise DataError(
                f"A {self.kind} modality has {len(self.mean)} means and the deviations "
                f"{self.std}. Give one positive deviation for each mean."
            )

    @classmethod
    def of(cls, value: int | Sequence[int | None] | ModalitySpec) -> ModalitySpec:
        """A spec from a width (vector), a shape (2 axes: series, 3: image), or itself."""
        if isinstance(value, ModalitySpec):
            return value
        if isinstance(value, int):
            return cls("vector", (value,))
        kinds: dict[int, Kind] = {1: "vector", 2: "series", 3: "image"}
        if len(value) not in kinds:
            raise DataError(
                f"A modality of shape {tuple(value)} has no kind of its own. Give a "
                "ModalitySpec with kind and shape."
            )
        return cls(kinds[len(value)], tuple(value))

    @property
    def width(self) -> int:
        """Number of features: the size of the feature axis (channels, for an image)."""
        if not self.shape:
            raise DataError(f"A {self.kind} modality has no fixed width.")
        size = self.shape[0] if self.kind == "image" else self.shape[-1]
        assert size is not None
        return size

    @property
    def size(self) -> int:
        """Number of values in one row, when every axis is known."""
        if any(s is None for s in self.shape):
            raise DataError(f"A {self.kind} of shape {self.shape} has no fixed size.")
        return prod(s for s in self.shape if s is not None)

    @property
    def numeric_width(self) -> int:
        """Number of leading columns that are numbers, not category codes."""
        return self.width - len(self.categories)

    def check(self, name: str, value: RawInput) -> None:
        """Refuses an input of another shape.

        Raises:
            DataError: with the shape expected and the shape found.
        """
        values = value.values if isinstance(value, Tokens) else value
        if not self.shape:
            return  # what an encoder's preprocess made is between it and itself
        found = tuple(values.shape[1:])
        fits = len(found) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, found, strict=True)
        )
        if not fits:
            raise DataError(
                f"Modality {name!r}: the model expects {self.kind} rows of shape {self.shape}, "
                f"the batch has {found}. Check the columns or arrays that feed {name!r}."
            )


@dataclass(frozen=True)
class DataSpec:
    """Every modality and every target of a data set, by name.

    Example:
        >>> spec = DataSpec({"a": ModalitySpec.of(3)}, {"y": TargetSpec("regression")})
        >>> DataSpec.from_dict(spec.to_dict()) == spec
        True
    """

    modalities: Mapping[str, ModalitySpec]
    targets: Mapping[str, TargetSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = (ModuleDict(), ParameterDict())
        taken = [
            name
            for name in (*self.modalities, *self.targets)
            if not name or "." in name or any(hasattr(o, name) for o in own)
        ]
        if taken:
            raise DataError(
                f"{taken} cannot name a modality or target: torch keeps the names of its own "
                "methods, dots, and the empty name for itself. Rename."
            )
        if "row" in self.targets:
            raise DataError(
                "A target cannot be called 'row': predictions keep the row numbers under that "
                "name. Rename the target."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a checkpoint or a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> DataSpec:
        """The inverse of ``to_dict``; lists from JSON are welcome."""

        def frozen(value: Any) -> Any:
            return tuple(map(frozen, value)) if isinstance(value, list) else value

        def fields(of: Mapping[str, Any]) -> dict[str, Any]:
            return {k: frozen(v) for k, v in of.items()}

        return cls(
            {name: ModalitySpec(**fields(f)) for name, f in plain["modalities"].items()},
            {name: TargetSpec(**fields(f)) for name, f in plain["targets"].items()},
        )

    def check(self, batch: Batch) -> None:
        """Refuses a batch that does not fit. For the edge, not for every step.

        Raises:
            UnknownModalityError: the batch has a modality that the spec does not name.
            DataError: a shape differs, or a present slot holds infinity, nothing at all, or NaN
                where the modality has no gaps.
        """
        for name in batch.modalities:
            if name not in self.modalities:
                raise UnknownModalityError(
                    f"The batch has modality {name!r}; the model knows "
                    f"{list(self.modalities)}. Leave it out, or train a model with it."
                )
            if len(batch.present_rows[name]) and name not in batch.inputs:
                raise DataError(
                    f"Modality {name!r}: rows count as present, and the batch has no input for "
                    "it. Mark the rows absent, or add the input."
                )
        for name, value in batch.inputs.items():
            self.modalities[name].check(name, value)
            if len(value) != len(batch):
                raise DataError(
                    f"Modality {name!r}: the input has {len(value)} rows, the batch has "
                    f"{len(batch)}. Give a slot for every row, absent ones too."
                )
            rows = batch.present_rows[name]
            if isinstance(value, Tokens):
                real = value.rows(rows)
                if not real.mask.any(dim=1).all():
                    raise DataError(
                        f"Modality {name!r}: a row that counts as present has no step and no "
                        "token. Mark the row absent."
                    )
                found = real.values[real.mask]
            else:
                found = value[rows]
            if not found.is_floating_point():
                continue
            has_gaps = self.modalities[name].has_gaps
            if (found.isinf() if has_gaps else ~found.isfinite()).any():
                raise DataError(
                    f"Modality {name!r}: a row that counts as present holds "
                    f"{'infinity' if has_gaps else 'NaN or infinity'}. "
                    "Mark the row absent, or fill the cell."
                )
