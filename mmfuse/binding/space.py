"""BoundSpace: one space for every modality, from any subset of several frozen spaces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import mmfuse
from mmfuse.binding.as_fusion import router_fusion
from mmfuse.binding.nodes import Embedded, Node
from mmfuse.binding.pools import Pool
from mmfuse.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingFileError,
    UnknownModalityError,
)
from mmfuse.files import replacing
from mmfuse.fusion.router import RouterFusion
from mmfuse.recorded import Recorded, describe, rebuild
from mmfuse.unit import unit

FORMAT = 1
#: The file of a bound space in its folder.
FILE = "bound.safetensors"


class BoundSpace(nn.Module, Recorded):
    """Embeds any modality from the vectors of any of its spaces, in one space.

    Made by ``mmfuse.binding.bind``. A row that none of the spaces has, and a modality that none
    of those the method uses embeds, gets the prior: the mean direction of what the modality's
    items have, which is near to none of them.

    Args:
        root: what joins the spaces.
        spaces: width of each space's vectors, in the order that columns of ``present`` follow.
        modalities: for each modality the spaces that embed it.

    Example:
        >>> from mmfuse.binding.nodes import Leaf
        >>> bound = BoundSpace(Leaf("clip", 3, ["text"]), {"clip": 3}, {"text": ["clip"]})
        >>> bound.embed("text", {"clip": torch.tensor([[0.0, 0.0, 2.0]])})
        tensor([[0., 0., 1.]])
    """

    def __init__(
        self, root: Node, spaces: Mapping[str, int], modalities: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__()
        self.root, self.widths = root, dict(spaces)
        self.spaces, self.out_dim = tuple(spaces), root.width
        self.spaces_of = {m: tuple(names) for m, names in modalities.items()}
        self.modalities = tuple(modalities)
        self.prior: Tensor
        self.register_buffer("prior", unit(torch.ones(len(modalities), root.width)))

    def embed(self, modality: str, vectors: Mapping[str, Any], present: Any = None) -> Tensor:
        """Embeds rows, without gradients.

        Args:
            modality: what the rows are.
            vectors: for each space ``(B, width)``; one that is left out is absent. Lengths mean
                nothing, and a vector of length zero is absent.
            present: ``(B, K)`` bool with a column for each of ``spaces``, False where the row
                lacks the space; what stands there then has no effect. All present by default.

        Returns:
            ``(B, out_dim)`` of unit length.

        Raises:
            UnknownModalityError: a modality that no space embeds.
            ConfigError: a space that the bound space does not know, or not for this modality.
            DataError: a wrong width or number of rows, or NaN or infinity in a present row.
        """
        return self._evaluated(modality, vectors, present).vector

    def weights(self, modality: str, vectors: Mapping[str, Any], present: Any = None) -> Tensor:
        """How much each space counts, ``(B, K)`` by the order of ``spaces``; zero where absent.

        Args and errors are those of ``embed``.
        """
        shares = self._evaluated(modality, vectors, present).shares
        like = next(iter(shares.values()))
        columns = [shares.get(s, torch.zeros_like(like)) for s in self.spaces]
        return torch.stack(columns, dim=1)

    def embed_pool(self, pool: Pool, rows: int = 8192) -> Tensor:
        """Embeds the items of a pool, so many rows at a time.

        Raises:
            UnknownModalityError, ConfigError, DataError: as ``embed``.
        """
        parts = []
        for some in torch.arange(len(pool)).split(rows):
            present = torch.zeros(len(some), len(self.spaces), dtype=torch.bool)
            for i, s in enumerate(self.spaces):
                if s in pool.present:
                    present[:, i] = pool.present[s][some]
            vectors = {s: x[some] for s, x in pool.vectors.items()}
            parts.append(self.embed(pool.modality, vectors, present).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def _evaluated(self, modality: str, vectors: Mapping[str, Any], present: Any) -> Embedded:
        given, here = self._checked(modality, vectors, present)
        was_training = self.training
        self.eval()
        try:
            return self(modality, given, here)
        finally:
            self.train(was_training)

    def _checked(
        self, modality: str, vectors: Mapping[str, Any], present: Any
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if modality not in self.spaces_of:
            raise UnknownModalityError(
                f"The bound space has no modality {modality!r}; it embeds "
                f"{', '.join(self.modalities)}."
            )
        known = self.spaces_of[modality]
        if (unknown := set(vectors) - set(known)) or not vectors:
            raise ConfigError(
                f"{modality!r} is given in {sorted(unknown) or 'no space'}; expected one or more "
                f"of {', '.join(known)}, whose vectors of it were bound."
            )
        given = {s: torch.as_tensor(x).to(self.prior) for s, x in vectors.items()}
        size = len(next(iter(given.values())))
        for s, x in given.items():
            if x.shape != (size, self.widths[s]):
                raise DataError(
                    f"Vectors of {modality!r} in {s!r} have the shape {tuple(x.shape)}; expected "
                    f"({size}, {self.widths[s]})."
                )
        if present is None:
            mask = torch.ones(size, len(self.spaces), dtype=torch.bool)
        else:
            mask = torch.as_tensor(present)
        if mask.shape != (size, len(self.spaces)) or mask.dtype != torch.bool:
            raise DataError(
                f"present has the shape {tuple(mask.shape)} and is {mask.dtype}; expected bool, "
                f"({size}, {len(self.spaces)}), with columns {list(self.spaces)}."
            )
        here = {s: mask[:, self.spaces.index(s)].to(self.prior.device) for s in given}
        for s, x in given.items():
            bad = here[s] & ~torch.isfinite(x).all(dim=1)
            if bad.any():
                raise DataError(
                    f"Row {int(bad.nonzero()[0])} of {modality!r} in {s!r} holds NaN or infinity. "
                    "Mark it as not present, or extract it again."
                )
        return given, here

    def forward(
        self, modality: str, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Embedded:
        """As ``embed``, differentiably, with ``present`` ``(B,)`` for each space, and unchecked."""
        given = {s: unit(x.masked_fill(~present[s].unsqueeze(1), 0)) for s, x in vectors.items()}
        here = {s: present[s] & x.any(dim=1) for s, x in given.items()}
        prior = self.prior[self.modalities.index(modality)]
        if modality not in self.root.modalities:
            size = len(next(iter(given.values())))
            nobody = torch.zeros(size, dtype=torch.bool, device=prior.device)
            return Embedded(
                prior.expand(size, -1), nobody, {s: prior.new_zeros(size) for s in given}
            )
        found: Embedded = self.root(modality, given, here)
        vector = torch.where(found.present.unsqueeze(1), found.vector, prior)
        return Embedded(vector, found.present, found.shares)

    def as_fusion(self, modality: str) -> RouterFusion:
        """The bound space of one modality as a fusion module, whose modalities are its spaces.

        It gives the same vectors, and goes on learning inside a ``FusionModel``.

        Raises:
            UnknownModalityError: a modality that the bound space does not embed.
            ConfigError: a space that no one router describes: with fixed factors, or in several
                steps, as ``FreeBind`` makes it.
        """
        if modality not in self.root.modalities:
            raise UnknownModalityError(
                f"The bound space does not embed {modality!r}; it embeds "
                f"{', '.join(self.root.modalities)}."
            )
        return router_fusion(self.root, modality, self.prior_of(modality))

    def prior_of(self, modality: str) -> Tensor:
        """What a row that no space has gets, ``(out_dim,)``."""
        return self.prior[self.modalities.index(modality)]

    def save(self, folder: str | Path) -> Path:
        """Writes the space to one file in a folder, whole or not at all.

        Raises:
            OutputError: the folder cannot be written.
        """
        path = Path(folder) / FILE
        told = {"format": FORMAT, "mmfuse": mmfuse.__version__, "bound": describe(self)}
        tensors = {n: x.detach().cpu().contiguous() for n, x in self.state_dict().items()}
        with replacing(path) as part:
            part.write_bytes(save(tensors, {"mmfuse": json.dumps(told)}))
        return path

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> BoundSpace:
        """A space that was saved. Nothing is unpickled.

        Args:
            path: the folder, or the file.
            device: where to put it.

        Raises:
            MissingFileError: there is none.
            CheckpointError: the file is of something else, or of a later format.
        """
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise MissingFileError(
                f"There is no bound space at {file}. Run mmfuse bind to its end."
            )
        try:
            with safe_open(file, "pt") as stored:
                told = json.loads((stored.metadata() or {}).get("mmfuse", "{}"))
                tensors = {n: stored.get_tensor(n) for n in stored.keys()}  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}. Bind again.") from error
        if "bound" not in told:
            raise CheckpointError(f"{file} is not a bound space.")
        if told["format"] > FORMAT:
            raise CheckpointError(
                f"{file} has format {told['format']}, this mmfuse reads up to {FORMAT}. Install "
                f"mmfuse {told['mmfuse']} or later."
            )
        found: BoundSpace = rebuild(told["bound"], base=cls)
        try:
            found.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"{file} does not hold what it describes: {error}") from error
        return found.eval().to(device)
