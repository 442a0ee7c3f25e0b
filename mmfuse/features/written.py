"""write: vectors that another program made, as a folder of features like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.features import fingerprint
from mmfuse.features.columns import Vectors
from mmfuse.features.options import DTYPES, Dtype
from mmfuse.features.shard import WRITERS, Format
from mmfuse.features.work import alone
from mmfuse.files import digest, replacing
from mmfuse.spec import DataSpec, ModalitySpec
from mmfuse.store import FORMAT, SPLITS, FeatureFolder


def write(
    out: str | Path,
    columns: Mapping[str, Any],
    rows: Any = None,
    split: str | Sequence[str | None] | None = None,
    made_by: str = "",
    format: Format = "parquet",
    dtype: Dtype = "float32",
    shard_rows: int = 8192,
    one_space: bool = False,
) -> dict[str, Any]:
    """Writes vectors that something else made to a folder of features.

    So that models which no encoder wraps can be searched, bound and trained on. The folder has
    the form that ``Extractor.extract`` writes, but names no encoder: nothing can be embedded
    anew from it. Killed, the same call goes on where it stopped.

    Args:
        out: the folder.
        columns: for each column ``(N, D)``, or a list of N vectors with None where a row has
            none, or ``Vectors``.
        rows: ``(N,)`` whole numbers that name the rows, by which folders are joined; 0 to N - 1
            by default.
        split: ``train``, ``val`` or ``test``, of all rows or of each; None for none.
        made_by: what made the vectors, for the record.
        format: ``parquet``, or ``safetensors``.
        dtype: of the stored numbers. Parquet has no bfloat16.
        shard_rows: rows a file.
        one_space: the columns lie in one space, so that rows of one may be looked for near those
            of another.

    Returns:
        the manifest.

    Raises:
        DataError: no column or row, unequal lengths, vectors of unequal width, or rows that are
            named twice.
        ConfigError: a split, format or dtype that does not exist, or a folder that holds
            something else.
        OutputError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "features"
        >>> manifest = write(folder, {"image": [[1.0, 2.0], None]}, made_by="another library")
        >>> manifest["rows_written"], manifest["columns"]["image"]["width"]
        (2, 2)
    """
    _check(format, dtype, shard_rows)
    found = {name: _vectors(name, values) for name, values in columns.items()}
    sizes = {name: len(v.present) for name, v in found.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise DataError(f"The columns have {sizes} rows; expected one number of them, from 1 up.")
    count = next(iter(sizes.values()))
    numbers = _rows(rows, count)
    codes = _codes(split, count)
    content: dict[str, Any] = {
        "made_by": made_by,
        "columns": {n: fingerprint.of_tensors(v.values, v.present) for n, v in found.items()},
        "rows": fingerprint.of_tensors(numbers, codes),
    }
    if one_space:  # not where it says nothing, so that older folders are the same
        content["one_space"] = True
    spec = DataSpec({n: ModalitySpec.of(v.values.shape[1]) for n, v in found.items()})
    described = {"spec": spec.to_dict(), "encoders": {}}
    folder = FeatureFolder(out)
    parts = torch.arange(count).split(shard_rows)
    with alone(folder.path, "0-of-1"):
        folder.begin(
            {
                "format": FORMAT,
                "what": list(found),
                "split": split if isinstance(split, str) else None,
                "kind": format,
                "dtype": dtype,
                "shard_rows": shard_rows,
                "rows": count,
                "shards": len(parts),
                "model": {"fingerprint": digest(content), "description": described},
                "encoders": {},
                "data": {"fingerprint": digest(content), "content": content},
                "spec": spec.to_dict(),
                "libraries": fingerprint.libraries(),
            }
        )
        for k, some in enumerate(parts):
            path = folder.shard(k, len(parts), format)
            if folder.is_done(path):
                continue
            folder.sweep(path)
            here = {n: v.rows(some).to(DTYPES[dtype]) for n, v in found.items()}
            with replacing(path) as temporary:
                writer = WRITERS[format](temporary, {})
                writer.write(numbers[some], codes[some], here, {})
                writer.close()
            facts = {n: v.facts() for n, v in here.items()}
            folder.note(path, {"rows": len(some), "problems": [], "skipped": [], "columns": facts})
        manifest = folder.finish()
    assert manifest is not None
    return manifest


def _check(format: str, dtype: str, shard_rows: int) -> None:
    for name, found, known in (("format", format, WRITERS), ("dtype", dtype, DTYPES)):
        if found not in known:
            raise ConfigError(f"{name} is {found!r}; expected one of {', '.join(known)}.")
    if format == "parquet" and dtype == "bfloat16":
        raise ConfigError("Parquet has no bfloat16. Give dtype float16 or float32, or safetensors.")
    if shard_rows < 1:
        raise ConfigError(f"shard_rows is {shard_rows}; expected 1 up.")


def _vectors(name: str, values: Any) -> Vectors:
    if isinstance(values, Vectors):
        return values.to(torch.float32)
    if isinstance(values, list | tuple):
        present = torch.tensor([v is not None for v in values], dtype=torch.bool)
        kept = [v for v in values if v is not None]
        try:
            vectors = torch.from_numpy(np.array(kept, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{name!r} is a list whose vectors are not of one width: {error}."
            ) from error
        if vectors.ndim != 2:
            raise DataError(f"{name!r} is a list of {len(values)} rows, and none holds a vector.")
        spread = vectors.new_zeros(len(values), vectors.shape[1])
        spread[present] = vectors
        return Vectors(spread, present)
    try:
        vectors = torch.as_tensor(np.array(values) if isinstance(values, np.ndarray) else values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name!r} is no array: {error}.") from error
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise DataError(f"{name!r} has the shape {tuple(vectors.shape)}; expected (rows, width).")
    return Vectors(vectors.detach().float().cpu(), torch.ones(len(vectors), dtype=torch.bool))


def _rows(rows: Any, count: int) -> Tensor:
    if rows is None:
        return torch.arange(count)
    found = rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
    if found.shape != (count,) or found.is_floating_point() or len(found.unique()) < count:
        raise DataError(
            f"rows has the shape {tuple(found.shape)} and is {found.dtype}; expected {count} whole "
            "numbers, each once."
        )
    return found.long()


def _codes(split: str | Sequence[str | None] | None, count: int) -> Tensor:
    names = [split] * count if split is None or isinstance(split, str) else list(split)
    if len(names) != count or (unknown := set(names) - {*SPLITS, None}):
        told = f"names {sorted(map(str, unknown))}" if len(names) == count else f"has {len(names)}"
        raise ConfigError(
            f"split {told}; expected one of {', '.join(SPLITS)} or None for each of {count} rows."
        )
    return torch.tensor([-1 if n is None else SPLITS.index(n) for n in names])
