"""Export: the vectors of a recommender as a folder of features with an index of faiss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mmfuse.features import FeatureIndex, index, write
from mmfuse.features.columns import Vectors
from mmfuse.features.feature_index import Backend
from mmfuse.features.neighbours import Metric
from mmfuse.files import replacing
from mmfuse.recommend.known_ids import Ids


def to_features(
    sides: Mapping[str, tuple[Tensor, Ids]], folder: str | Path, backend: Backend, metric: Metric
) -> dict[str, FeatureIndex]:
    """Writes vectors by code, the ids of the codes, and an index of each column.

    Args:
        sides: for each column its vectors ``(n, D)`` and their ids.
        folder: where to.
        backend: of the index.
        metric: likewise.

    Returns:
        the index of each column.
    """
    folder = Path(folder)
    rows = max(len(vectors) for vectors, _ in sides.values())
    columns = {name: _padded(vectors, rows) for name, (vectors, _) in sides.items()}
    write(folder, columns, made_by="a recommender", one_space=True)
    for name, (_, ids) in sides.items():
        with replacing(folder / f"{name}_ids.parquet") as part:
            table = pd.DataFrame({"row": range(len(ids)), "id": ids.values})
            table.to_parquet(part, index=False)
    return {name: index(folder, name, backend, metric) for name in sides}


def _padded(vectors: Tensor, rows: int) -> Vectors:
    """With empty rows after the last, as the columns of a folder are equally long."""
    values = vectors.new_zeros(rows, vectors.shape[1])
    values[: len(vectors)] = vectors
    return Vectors(values, torch.arange(rows) < len(vectors))
