"""FusionModel: encoders, then fusion, then heads. Plain torch, no Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch, RawInput
from mmfuse.encoder import Encoder, without_pretrained_weights
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion.base import Fused, Fusion, LateFusion
from mmfuse.picked import PickedRows
from mmfuse.recorded import describe, rebuild
from mmfuse.spec import DataSpec
from mmfuse.standardise import Standardise
from mmfuse.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Output:
    """What a model says of a batch.

    Args:
        logits: each target's scores, ``(B, out_dim)``.
        fused: the fusion module's result.
        step_logits: for sequential fusion each target's scores after every step,
            ``(B, S, out_dim)``; empty otherwise.
    """

    logits: Mapping[str, Tensor]
    fused: Fused
    step_logits: Mapping[str, Tensor]


class Towers(nn.Module):
    """Encoders side by side, one a modality, before any fusion.

    Args:
        spec: what the modalities look like.
        encoders: one for each modality of ``spec``; their order is that of the output.

    Raises:
        UnknownModalityError: encoders and spec name different modalities.

    Example:
        >>> from mmfuse import DataSpec, ModalitySpec
        >>> from mmfuse_encoders import MLPEncoder
        >>> towers = Towers(DataSpec({"a": ModalitySpec.of(3)}), {"a": MLPEncoder(3, out_dim=8)})
        >>> batch = Batch(("a",), {"a": torch.zeros(2, 3)}, torch.ones(2, 1).bool())
        >>> towers.encode(batch)["a"].values.shape
        torch.Size([2, 1, 8])
    """

    def __init__(self, spec: DataSpec, encoders: Mapping[str, Encoder]) -> None:
        super().__init__()
        if set(encoders) != set(spec.modalities):
            raise UnknownModalityError(
                f"Encoders are given for {sorted(encoders)}, the data has "
                f"{sorted(spec.modalities)}. Name one encoder for each modality."
            )
        self.spec = spec
        self.modalities = tuple(encoders)
        self.encoders = nn.ModuleDict(encoders)
        self.standardise = nn.ModuleDict(
            {m: Standardise(s) for m, s in spec.modalities.items() if s.mean}
        )

    @classmethod
    def of(cls, encoders: Mapping[str, Encoder]) -> Towers:
        """Encoders alone, for the input that each was built for."""
        return cls(DataSpec({m: e.spec for m, e in encoders.items()}), encoders)

    def only(self, modalities: Sequence[str]) -> Towers:
        """The same encoders, of these modalities alone and without a fusion."""
        spec = DataSpec({m: self.spec.modalities[m] for m in modalities})
        towers = Towers(spec, {m: cast(Encoder, self.encoders[m]) for m in modalities})
        return towers.train(self.training)

    @property
    def preprocess(self) -> dict[str, Callable[[Any], RawInput]]:
        """Each encoder's preprocessing, which runs in the data workers."""
        return {m: cast(Encoder, e).preprocess for m, e in self.encoders.items()}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, everything is in eval mode; after, each part is in the mode it was in."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Runs each encoder on the rows that have its modality, and on no other.

        Shape:
            -> {m: Tokens (B, T_m, dims[m])}, rows without the modality blank
        """
        tokens = {}
        for m in self.modalities:
            if m not in batch.inputs or len(batch.present_rows[m]) == 0:
                continue  # Fusion knows what to do with a modality that no row has.
            rows, x = batch.present_rows[m], batch.input(m)
            some = len(rows) < len(batch)
            if some:
                x = x.index_select(0, rows) if isinstance(x, Tensor) else x.rows(rows)
            found = self._encode_rows(m, x)
            tokens[m] = found.scatter(rows, len(batch)) if some else found
        return tokens

    def _encode_rows(self, modality: str, x: RawInput | PickedRows) -> Tokens:
        encoder = cast(Encoder, self.encoders[modality])
        if modality in self.standardise:
            x = self.standardise[modality](x)
        if isinstance(x, PickedRows) and not encoder.takes_picked:
            x = x.copied()
        # no_grad, not inference mode: the fusion must be able to differentiate through
        # what it computes from a frozen encoder's output.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not encoder.frozen):
            return Tokens.of(encoder(x))

    def present(self, batch: Batch) -> Tensor:
        """``batch.present`` with its columns in fusion order; False for one it lacks."""
        if batch.modalities == self.modalities:
            return batch.present
        if unknown := set(batch.modalities) - set(self.modalities):
            raise UnknownModalityError(
                f"The batch has {sorted(unknown)}; the model knows {list(self.modalities)}."
            )
        absent = batch.present.new_zeros(len(batch))
        columns = dict(zip(batch.modalities, batch.present.unbind(dim=1), strict=True))
        return torch.stack([columns.get(m, absent) for m in self.modalities], dim=1)

    def describe(self) -> dict[str, Any]:
        """How to build these encoders again, in plain data; weights are not part of it."""
        return {
            "spec": self.spec.to_dict(),
            "encoders": {
                m: describe(self.encoders[m], without=("spec",))  # type: ignore[arg-type]
                for m in self.modalities
            },
        }


class FusionModel(Towers):
    """One encoder a modality, one fusion module, one head a target.

    Args:
        spec: what the modalities and targets look like.
        encoders: one for each modality of ``spec``.
        fusion: built for the encoders' widths; see ``FusionModel.dims``.
        heads: one for each target, ``(..., fusion.out_dim) -> (..., target.out_dim)``;
            what the fusion makes by default, for most a linear map. An empty mapping makes a
            model that predicts no target, such as one that aligns modalities.

    Raises:
        UnknownModalityError: encoders and spec name different modalities.
        ConfigError: the fusion was built for other widths, or a target has no head.

    Example:
        >>> from mmfuse import DataSpec, ModalitySpec, TargetSpec
        >>> from mmfuse.fusion import ConcatFusion
        >>> from mmfuse_encoders import MLPEncoder
        >>> spec = DataSpec({"a": ModalitySpec.of(3)}, {"y": TargetSpec("regression")})
        >>> encoders = {"a": MLPEncoder(3, out_dim=8)}
        >>> model = FusionModel(spec, encoders, ConcatFusion({"a": 8}))
        >>> output = model(Batch(("a",), {"a": torch.zeros(2, 3)}, torch.ones(2, 1).bool()))
        >>> output.logits["y"].shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        spec: DataSpec,
        encoders: Mapping[str, Encoder],
        fusion: Fusion,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        in_order = {m: encoders[m] for m in fusion.modalities if m in encoders}
        super().__init__(spec, in_order | dict(encoders))
        dims = {m: encoders[m].out_dim for m in fusion.modalities if m in encoders}
        if dims != fusion.dims or len(dims) != len(encoders):
            raise ConfigError(
                f"{type(fusion).__name__} was built for {fusion.dims}; the encoders give "
                f"{ {m: e.out_dim for m, e in encoders.items()} }. Build it with these dims."
            )
        if heads and set(heads) != set(spec.targets):
            raise ConfigError(
                f"Heads are given for {sorted(heads)}, the data's targets are "
                f"{sorted(spec.targets)}. Give one head for each target."
            )
        self.fusion = fusion
        if heads is None:
            heads = {t: fusion.head(s) for t, s in spec.targets.items()}
        self.heads = nn.ModuleDict(heads)

    @property
    def dims(self) -> dict[str, int]:
        """Width of each modality's tokens, in fusion order."""
        return self.fusion.dims

    def fuse(self, tokens: Mapping[str, Tokens], present: Tensor, **options: Any) -> Fused:
        """Joins tokens; ``present`` (B, M) is in fusion order."""
        return self.fusion(tokens, present, **options)

    def read(self, fused: Fused, present: Tensor) -> Output:
        """Applies the heads to a fused batch."""
        fusion, targets = self.fusion, self.spec.targets
        if isinstance(fusion, LateFusion):
            logits = {t: fusion.read(h, fused, present, targets[t]) for t, h in self.heads.items()}
        else:
            logits = {t: head(fused.vector) for t, head in self.heads.items()}
        steps: dict[str, Tensor] = {}
        if fused.steps is not None:
            steps = {t: head(fused.steps) for t, head in self.heads.items()}
        return Output(logits, fused, steps)

    def forward(self, batch: Batch) -> Output:
        """Encodes, fuses and reads out a batch."""
        present = self.present(batch)
        return self.read(self.fuse(self.encode(batch), present), present)

    def describe(self) -> dict[str, Any]:
        """How to build this model again, in plain data; weights are not part of it."""
        if not all(isinstance(head, self.fusion.head_class) for head in self.heads.values()):
            raise ConfigError("A model with heads of your own cannot be described yet by name.")
        found = super().describe() | {"fusion": describe(self.fusion, without=("dims",))}
        return found if self.heads or not self.spec.targets else found | {"heads": []}

    @classmethod
    def rebuild(cls, description: Mapping[str, Any]) -> FusionModel:
        """The inverse of ``describe``, with fresh weights.

        Raises:
            CheckpointError: it names a class that cannot be imported or is not of its kind.
        """
        spec = DataSpec.from_dict(description["spec"])
        with without_pretrained_weights():
            encoders = {
                m: rebuild(d, spec.modalities[m], base=Encoder)
                for m, d in description["encoders"].items()
            }
        dims = {m: e.out_dim for m, e in encoders.items()}
        fusion = rebuild(description["fusion"], dims, base=Fusion)
        return cls(spec, encoders, fusion, {} if description.get("heads") == [] else None)
