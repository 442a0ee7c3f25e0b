"""Features of given rows, and a search by the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

from mmfuse import Extractor
from mmfuse_encoders import LinearEncoder

BACKENDS = ["exact", "faiss", "faiss-hnsw", "faiss-ivf"]


METRICS = ["cosine", "dot", "l2"]


def same(width: int) -> LinearEncoder:
    """An encoder that gives its input."""
    encoder = LinearEncoder(width, out_dim=width)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.eye(width) if parameter.ndim == 2 else torch.zeros(width))
    return encoder


def stored(folder, columns, **options) -> Path:
    """Features that are these rows, None where absent."""
    width = {n: len(next(r for r in rows if r is not None)) for n, rows in columns.items()}
    extractor = Extractor({n: same(w) for n, w in width.items()})
    options = {"shard_rows": 7, "batch_size": 3} | options
    extractor.extract(columns, folder, **options)
    return Path(folder)


def naive(rows, queries, k, metric):
    """Row numbers and scores by the definition."""
    numbers = np.array([i for i, r in enumerate(rows) if r is not None])
    values = np.array([r for r in rows if r is not None], np.float64)
    found = []
    for query in np.asarray(queries, np.float64):
        if metric == "l2":
            scores = np.sqrt(((values - query) ** 2).sum(axis=1))
        else:
            scores = np.array([(v * query).sum() for v in values])
        if metric == "cosine":
            lengths = np.sqrt((values**2).sum(axis=1)) * np.sqrt((query**2).sum())
            scores = np.divide(scores, lengths, out=np.zeros(len(values)), where=lengths > 0)
        scores = scores.astype(np.float32)
        order = np.lexsort((numbers, scores if metric == "l2" else -scores))[:k]
        found.append((numbers[order], scores[order]))
    return [np.stack(x) for x in zip(*found, strict=True)]


# Small whole numbers tie often, and powers of two keep their cosines apart or equal.
cells = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0])


vector = st.tuples(cells, cells)
