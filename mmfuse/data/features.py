"""FeatureData: extracted features as data, each column a modality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from mmfuse.data.cached import is_sequence
from mmfuse.data.groups import ColumnGroup
from mmfuse.data.hf import HFData
from mmfuse.data.source import Source
from mmfuse.errors import ConfigError
from mmfuse.files import sha256
from mmfuse.spec import TargetKind
from mmfuse.store import FeatureFolder, load


class FeatureData(HFData):
    """Extracted features, each column a modality.

    Args:
        path: a folder that ``mmfuse extract`` or ``Extractor`` wrote.
        modalities: columns, or a column for each modality's name; the vectors of all
            modalities by default.
        targets: names of targets; all that the folder has by default.
        target_kinds: what a target is, where its values do not tell.
        split: a column with ``train``, ``val`` or ``test``; the source's own split by default,
            None draws.
        **kwargs: as ``FusionDataModule``.

    Raises:
        ConfigError, MissingFileError, DataError: at set-up, when the folder lacks a column,
            is not there or was changed.
    """

    def __init__(
        self,
        path: str,
        modalities: list[str] | dict[str, str] | None = None,
        targets: list[str] | None = None,
        target_kinds: dict[str, TargetKind] | None = None,
        split: str | None = "split",
        **kwargs: Any,
    ) -> None:
        super().__init__(path, {}, None, target_kinds, split, **kwargs)
        self._wanted = modalities, targets
        self._kinds = dict(target_kinds or {})

    def read(self) -> Source:
        """Opens the features."""
        manifest = FeatureFolder(self.path).manifest()
        wanted, targets = self._wanted
        if wanted is None:
            made_by = manifest["encoders"] or manifest["columns"]  # of vectors made elsewhere
            wanted = [m for m in made_by if m in manifest["columns"]]
        named = dict(wanted) if isinstance(wanted, Mapping) else {c: c for c in wanted}
        if absent := [c for c in named.values() if c not in manifest["columns"]]:
            raise ConfigError(
                f"{self.path} has no {absent}; it has {list(manifest['columns'])}. Extract them, "
                "or name others."
            )
        self.modalities = {
            m: ColumnGroup(c, kind="tokens" if is_sequence(manifest, c) else "vector")
            for m, c in named.items()
        }
        known = list(manifest["spec"]["targets"])
        self.targets = {t: f"target.{t}" for t in (known if targets is None else targets)}
        # Pairs of time and event look like two values to regress.
        pairs: dict[str, TargetKind] = {
            t: "survival" for t in self.targets if _kind(manifest, t) == "survival"
        }
        self.target_kinds = pairs | self._kinds
        return super().read()

    def settings(self) -> dict[str, Any]:
        """How this data is made; the manifest's digest tells the content."""
        made = super().settings()
        return made | {"manifest": sha256(Path(self.path) / "manifest.json")}

    def _open(self) -> tuple[datasets.Dataset, np.ndarray | None]:
        found = load(self.path)
        if self.split == "split":  # a row that its source left out of every split
            found = found.select(np.flatnonzero(found.data.column("split").is_valid().to_numpy()))
            found = found.flatten_indices() if found._indices is not None else found
        return found, None


def _kind(manifest: Mapping[str, Any], target: str) -> str | None:
    return manifest["spec"]["targets"].get(target, {}).get("kind")
