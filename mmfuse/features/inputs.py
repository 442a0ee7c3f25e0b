"""What a person may hand to an extractor -> a DataModule that the model can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import pandas as pd

from mmfuse.data import ArrayData, FusionDataModule
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.model import Towers


def as_data(data: Any, model: Towers) -> FusionDataModule:
    """Data as ``model`` reads it, with the classes and statistics that it knows.

    Args:
        data: a DataModule; or a mapping, DataFrame or ``datasets.Dataset`` with values for
            each modality.
        model: what will read it.

    Raises:
        ConfigError: none of these.
        UnknownModalityError: a modality of the model is not there.
    """
    if isinstance(data, FusionDataModule):
        data.adopt(model.spec)
        return data
    if isinstance(data, pd.DataFrame):
        data = {str(c): data[c].tolist() for c in data.columns}
    elif isinstance(data, datasets.Dataset):
        data = {c: data[c] for c in data.column_names if c in model.modalities}
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"Features are extracted from a DataModule, a mapping from modality to rows, a "
            f"DataFrame or a datasets.Dataset; found {type(data).__name__}."
        )
    if absent := [m for m in model.modalities if m not in data]:
        raise UnknownModalityError(f"The data have {list(data)}; the model reads {absent} too.")
    kinds = {m: model.spec.modalities[m].kind for m in model.modalities}
    made = ArrayData({m: data[m] for m in model.modalities}, kinds=kinds, val=0, test=1)
    made.adopt(model.spec)
    return made
