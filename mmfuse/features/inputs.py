"""What a person may hand to an extractor -> a DataModule, and the model that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import datasets
import numpy as np
import pandas as pd

from mmfuse.data import ArrayData, FusionDataModule, HFData
from mmfuse.data.groups import ColumnGroup
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.model import FusionModel, Towers
from mmfuse.recorded import class_path
from mmfuse.spec import DataSpec, Kind


def fitted(data: Any, model: Towers) -> tuple[FusionDataModule, Towers]:
    """Data as ``model`` reads it, with the classes and statistics that it knows.

    Of encoders without a fusion, those take part whose modality the data have. A model with
    a fusion counts a modality that plain values lack as absent.

    Args:
        data: a DataModule; or a mapping, DataFrame or ``datasets.Dataset`` with values for
            each modality.
        model: what will read it.

    Raises:
        ConfigError: none of these.
        UnknownModalityError: the data have no modality of the model; or a DataModule lacks
            one that a fusion reads.
    """
    if isinstance(data, FusionDataModule):
        if isinstance(model, FusionModel):
            data.adopt(model.spec)
            return data, model
        try:
            spec = data.spec
        except DataError:  # without training rows no classes; set-up tells anything else again
            data.adopt(model.spec)
            return data, model
        model = _only(model, spec.modalities)
        data.adopt(DataSpec(model.spec.modalities, spec.targets))
        return data, model
    if isinstance(data, datasets.Dataset):
        if not isinstance(model, FusionModel):
            model = _only(model, data.column_names)
        stored = StoredData(data, {m: s.kind for m, s in model.spec.modalities.items()})
        stored.adopt(model.spec)
        return stored, model
    values = _columns(data)
    if not isinstance(model, FusionModel):
        model = _only(model, values)
    known = [m for m in model.modalities if m in values]
    if not known:
        raise _nothing_in_common(values, model)
    rows = len(values[known[0]])
    kinds = {m: s.kind for m, s in model.spec.modalities.items()}
    inputs = {m: values.get(m, [None] * rows) for m in model.modalities}
    made = ArrayData(inputs, kinds=kinds, val=0, test=1)
    made.adopt(model.spec)
    return made, model


class StoredData(HFData):
    """A ``datasets.Dataset`` at hand, read where it lies.

    Args:
        data: the rows.
        kinds: of the columns that are modalities.
    """

    def __init__(self, data: datasets.Dataset, kinds: Mapping[str, Kind]) -> None:
        super().__init__("", {m: ColumnGroup(m, kind) for m, kind in kinds.items()}, val=0, test=1)
        self._data = data if data._indices is None else data.flatten_indices()

    def settings(self) -> dict[str, Any]:
        """The data set's own fingerprint tells the content."""
        return {
            "class_path": class_path(type(self)),
            "init_args": {},
            "fingerprint": self._data._fingerprint,
        }

    def _open(self) -> tuple[datasets.Dataset, np.ndarray | None]:
        return self._data, None


def _only(model: Towers, names: Iterable[str]) -> Towers:
    """The encoders of the modalities that are there."""
    kept = [m for m in model.modalities if m in set(names)]
    if not kept:
        raise _nothing_in_common(names, model)
    return model if len(kept) == len(model.modalities) else model.only(kept)


def _nothing_in_common(names: Iterable[str], model: Towers) -> UnknownModalityError:
    return UnknownModalityError(
        f"The data have {list(names)}; the model reads {list(model.modalities)}. Give the rows "
        "under these names."
    )


def _columns(data: Any) -> Mapping[str, Any]:
    if isinstance(data, pd.DataFrame):
        return {str(c): data[c].tolist() for c in data.columns}
    if isinstance(data, Mapping):
        return data
    raise ConfigError(
        f"Features are extracted from a DataModule, a mapping from modality to rows, a DataFrame "
        f"or a datasets.Dataset; found {type(data).__name__}."
    )
