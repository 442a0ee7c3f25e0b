"""One pass over the rows: all are encoded once, and anew only what is corrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfuse.batch import Batch, RawInput
from mmfuse.data import FusionDataModule
from mmfuse.data.columns import Numeric
from mmfuse.data.datamodule import Split
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing.hashing import uniform
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.corruptions.base import SEVERITIES, Corruption
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured
from mmfuse.robustness.corruptions.spill import Spill
from mmfuse.robustness.passes import evaluating, fuse_rows
from mmfuse.tokens import Tokens

#: For each modality what corrupts it.
Plan = Mapping[str, list[Corruption]]
#: What is corrupted, and by what; None for every modality at once, each by one of its own.
Curve = tuple[str | None, str | None]


@dataclass(frozen=True)
class Rows:
    """A batch, and its modalities before any encoder's preprocessing.

    Args:
        batch: as a model takes it.
        raw: from a modality to the raw values of the rows that have it.
        prepare: from a modality and such values to what its encoder takes.
    """

    batch: Batch
    raw: Callable[[str], Any]
    prepare: Callable[[str, Any], RawInput]


def rows_of_data(model: FusionModel, data: FusionDataModule, split: Split) -> Iterator[Rows]:
    """The rows of a split, natural gaps alone."""
    data.attach(model.preprocess)
    loader, dataset = data.loader(split, missing=None), data.dataset(split, missing=None)
    preprocess = model.preprocess
    for batch in loader:

        def raw(modality: str, batch: Batch = batch) -> Any:
            column = dataset.columns[modality]
            rows = batch.index[batch.present_rows[modality]].numpy()
            return column.fetch(rows) if isinstance(column, Numeric) else column.take(rows)

        yield Rows(batch, raw, lambda modality, values: preprocess[modality](values))


def rows_of_batches(model: FusionModel, batches: Iterable[Batch], plan: Plan) -> Iterator[Rows]:
    """Batches of arrays, which need no preprocessing.

    Raises:
        ConfigError: a modality to corrupt comes preprocessed.
    """
    for m in plan:
        if not model.spec.modalities[m].shape:
            raise ConfigError(
                f"Modality {m!r}: {model.spec.modalities[m].kind} rows are corrupted before their "
                "encoder preprocesses them, and a batch holds them after. Give the "
                "FusionDataModule in place of batches, or corruptions of other modalities alone."
            )
    for batch in batches:

        def raw(modality: str, batch: Batch = batch) -> Any:
            values, rows = batch.inputs[modality], batch.present_rows[modality]
            return values.rows(rows) if isinstance(values, Tokens) else values[rows]

        yield Rows(batch, raw, lambda modality, values: values)


def curves_of(plan: Plan) -> list[Curve]:
    """Every modality by every corruption; last, of several modalities, all at once."""
    found: list[Curve] = [(m, c.name) for m, corruptions in plan.items() for c in corruptions]
    return [*found, (None, None)] if len(plan) > 1 else found


class Corrupted:
    """What a model said of every row, clean and under every corruption and severity.

    Args:
        model: evaluated in eval mode; its mode is restored.
        plan: what corrupts which modality.
        measured: what is known of each.
        seed: of the draws.
    """

    def __init__(
        self, model: FusionModel, plan: Plan, measured: Mapping[str, Measured], seed: int
    ) -> None:
        self.model, self.plan, self.measured, self.seed = model, plan, measured, seed
        self.curves = curves_of(plan)
        self._index: list[Tensor] = []
        self._present: list[Tensor] = []
        self._labels: dict[str, list[Tensor]] = {t: [] for t in model.spec.targets}
        self._values = {t: Spill() for t in model.spec.targets}
        self._first: NDArray[np.int64] = np.zeros(0, np.int64)

    def read(self, source: Iterable[Rows], progress: Callable[[int], None] | None) -> None:
        """Predicts every batch.

        Raises:
            DataError: no rows, no targets, or corrupted rows that an encoder refuses.
        """
        with torch.no_grad(), evaluating(self.model):
            for done, rows in enumerate(source, start=1):
                self._one_batch(rows)
                if progress is not None:
                    progress(done)
        if not sum(map(len, self._index)):
            raise DataError("There are no rows to evaluate: the loader gave no batch with any.")
        # A distributed sampler may repeat rows to even out the processes.
        _, self._first = np.unique(torch.cat(self._index).numpy(), return_index=True)

    @property
    def present(self) -> NDArray[np.bool_]:
        """``(N, M)`` who was there, in the model's order, rows in ascending order."""
        return torch.cat(self._present).numpy()[self._first]

    def labels(self, target: str) -> NDArray[np.float64]:
        """Each row's label, ``(N,)`` or ``(N, outputs)``."""
        return torch.cat(self._labels[target]).double().numpy()[self._first]

    def curve(self, target: str, place: int) -> NDArray[np.float32]:
        """Predictions of one of ``curves`` by severity, ``(6, N, K)``; the first line is clean."""
        start = 1 + place * len(SEVERITIES)
        lines = [0, *range(start, start + len(SEVERITIES))]
        return self._values[target].read(lines)[:, self._first]

    def _one_batch(self, rows: Rows) -> None:
        model, batch = self.model, rows.batch
        if not len(batch):
            return
        targets = targets_of(batch, model)
        here = batch.to(next(model.parameters()).device)
        tokens, present = model.encode(here), model.present(here)
        everyone = torch.arange(len(batch), device=present.device)
        clean = self._predict(tokens, everyone, present)
        found = {t: [v] for t, v in clean.items()}
        together = _Together(self.plan, batch.index, self.seed)
        for m, corruptions in self.plan.items():
            there = batch.present_rows[m]
            if not len(there):  # nobody has it, and nothing changes
                for t, v in clean.items():
                    found[t] += [v] * (len(SEVERITIES) * len(corruptions))
                continue
            raw, mine = rows.raw(m), there.to(present.device)
            others = {k: v.rows(mine) for k, v in tokens.items() if k != m}
            for c, corruption in enumerate(corruptions):
                for severity in SEVERITIES:
                    made = self._encoded(rows, m, raw, corruption, severity)
                    changed = self._predict(
                        {**others, m: made}, everyone[: len(there)], present[mine]
                    )
                    for t, v in changed.items():
                        line = clean[t].copy()
                        line[there.cpu().numpy()] = v
                        found[t].append(line)
                    together.keep(m, c, severity, there.cpu(), made)
        if len(self.plan) > 1:
            for severity in SEVERITIES:
                given = together.tokens(severity, tokens)
                for t, v in self._predict(given, everyone, present).items():
                    found[t].append(v)
        for t, lines in found.items():
            self._values[t].add(np.stack(lines))
            self._labels[t].append(targets[t].cpu())
        self._index.append(batch.index.cpu())
        self._present.append(present.cpu())

    def _encoded(
        self, rows: Rows, modality: str, raw: Any, corruption: Corruption, severity: int
    ) -> Tokens:
        """Tokens of the rows that have the modality, corrupted."""
        batch = rows.batch
        draws = Draws(batch.index[batch.present_rows[modality]], self.seed, modality)
        changed = corruption(raw, severity, draws, self.measured[modality])
        try:
            x = rows.prepare(modality, changed)
        except DataError as error:
            raise DataError(
                f"Modality {modality!r}: its encoder refuses rows under {corruption.name} at "
                f"severity {severity}: {error} Leave that corruption out."
            ) from error
        everyone = torch.ones(len(draws.rows), 1, dtype=torch.bool)
        alone = Batch((modality,), {modality: x}, everyone, index=draws.rows.cpu())
        return self.model.encode(alone.to(next(self.model.parameters()).device))[modality]

    def _predict(
        self, tokens: Mapping[str, Tokens], rows: Tensor, present: Tensor
    ) -> dict[str, NDArray[np.float32]]:
        logits = fuse_rows(self.model, tokens, rows, present)
        specs = self.model.spec.targets
        return {t: specs[t].predict(x).float().cpu().numpy() for t, x in logits.items()}


class _Together:
    """Every modality of a row corrupted by one of its own corruptions, drawn by the row.

    The tokens are those that were made for the curves of single modalities.
    """

    def __init__(self, plan: Plan, index: Tensor, seed: int) -> None:
        self._choice = {
            m: (uniform(seed, index.cpu(), "corrupted together", m) * len(c)).long()
            for m, c in plan.items()
        }
        self._is_needed = len(plan) > 1
        self._parts: dict[tuple[int, str], list[tuple[Tensor, Tokens]]] = {}

    def keep(self, modality: str, place: int, severity: int, rows: Tensor, made: Tokens) -> None:
        """Keeps of ``made``, the tokens of ``rows``, those that a row's choice falls on."""
        mine = (self._choice[modality][rows] == place).nonzero().squeeze(1)
        if self._is_needed and len(mine):
            part = rows[mine], made.rows(mine.to(made.mask.device))
            self._parts.setdefault((severity, modality), []).append(part)

    def tokens(self, severity: int, clean: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """All tokens of a severity; a modality that is not corrupted keeps its clean ones."""
        found = dict(clean)
        for m in clean:
            if parts := self._parts.get((severity, m)):
                found[m] = _side_by_side(parts, len(clean[m]))
        return found


def _side_by_side(parts: list[tuple[Tensor, Tokens]], size: int) -> Tokens:
    """Rows in their places of a batch of ``size``, blanks elsewhere, as long as the longest."""
    first = parts[0][1]
    longest = max(made.mask.shape[1] for _, made in parts)
    values = first.values.new_zeros(size, longest, first.values.shape[2])
    mask = first.mask.new_zeros(size, longest)
    for rows, made in parts:
        place = rows.to(mask.device)
        length = made.mask.shape[1]
        values[place, :length], mask[place, :length] = made.values, made.mask
    return Tokens(values, mask)
