"""Options of an extraction: what of the model, which rows, in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mmfuse.errors import ConfigError
from mmfuse.features.columns import FUSED, check_names
from mmfuse.features.shard import WRITERS, Format
from mmfuse.model import FusionModel, Towers
from mmfuse.store import SPLITS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Dtype = Literal["float32", "float16", "bfloat16"]
OnError = Literal["raise", "absent", "skip"]
Precision = Literal["32-true", "bf16-mixed"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Options:
    """See ``Extractor.extract`` and ``Extractor``."""

    what: tuple[str, ...]
    split: Split | None
    kind: Format
    dtype: Dtype
    shard_rows: int
    batch_size: int
    on_error: OnError
    precision: Precision
    device: str

    def check(self, model: Towers) -> None:
        """Refuses what cannot be done.

        Raises:
            ConfigError: naming the option, what was found and what was expected.
        """
        check_names(self.what, model)
        choices = {
            "split": (self.split, (None, *SPLITS)),
            "format": (self.kind, tuple(WRITERS)),
            "dtype": (self.dtype, tuple(DTYPES)),
            "on_error": (self.on_error, ("raise", "absent", "skip")),
            "precision": (self.precision, ("32-true", "bf16-mixed")),
        }
        for name, (found, expected) in choices.items():
            if found not in expected:
                words = ", ".join(str(e) for e in expected if e is not None)
                raise ConfigError(f"{name} is {found!r}; expected one of {words}.")
        if self.dtype == "bfloat16" and self.kind == "parquet":
            raise ConfigError(
                "Parquet has no bfloat16. Give dtype float16 or float32, or format safetensors."
            )
        for name, number in (("shard_rows", self.shard_rows), ("batch_size", self.batch_size)):
            if number < 1:
                raise ConfigError(f"{name} is {number}; expected 1 up.")


def default_columns(model: Towers) -> list[str]:
    """The modalities' vectors and, from a model with a fusion, the fused one."""
    return [*model.modalities, *([FUSED] if isinstance(model, FusionModel) else [])]
