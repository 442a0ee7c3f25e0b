"""SetGuided: what aligned models no longer find as their inputs are moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmfuse import checkpoint
from mmfuse.batch import Batch, RawInput
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.model import FusionModel
from mmfuse.robustness.attacks import SearchCurves, search_curves
from mmfuse.robustness.attacks.movable import movable, typical_lengths
from mmfuse.robustness.attacks.threat import Norm, Threat, checked_budgets
from mmfuse.robustness.search.space import require_shared_space
from mmfuse.suites.base import Setting, Suite
from mmfuse.tokens import Tokens


class SetGuided(Suite):
    """Moves inputs of aligned modalities until rows no longer find their own items.

    ``SetGuidedAttack`` moves each modality, and all together, in queries and items; noise of the
    same size stands beside it. A budget is a share of the length of a typical row, as for
    ``Attacks``. With ``against``, the rows that were moved on each model are shown to every other
    one.

    Args:
        budgets: shares.
        against: checkpoints of other aligned models, trained on the same data.
        modalities: those to move; None for all whose inputs are numbers that an encoder passes a
            gradient to. Texts are not, and only guide.
        norm: ``linf`` or ``l2``.
        rows: at most so many rows search among each other, drawn by the seed.
        steps: of each turn of the attack.
        at: a query is right if its item is among so many.

    Raises:
        ConfigError: no budget above 0, fewer rows, steps or items than one, or an unknown norm.
    """

    name = "set_guided"
    needs_target = False

    def __init__(
        self,
        budgets: Sequence[float] = (0.05, 0.1, 0.2),
        against: Sequence[str] = (),
        modalities: Sequence[str] | None = None,
        norm: Norm = "linf",
        rows: int = 500,
        steps: int = 10,
        at: int = 1,
    ) -> None:
        if min(rows, steps, at) < 1 or not max(checked_budgets(budgets)) > 0:
            raise ConfigError(
                f"SetGuided: found budgets {list(budgets)}, {rows} rows, {steps} steps and at {at};"
                " expected a budget above 0, and 1 up."
            )
        Threat(("",), norm=norm)  # which refuses a norm that it does not know
        self.budgets, self.against, self.modalities = budgets, tuple(against), modalities
        self.norm, self.rows, self.steps, self.at = norm, rows, steps, at

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses what cannot be attacked, and models that do not read the same.

        Raises:
            ConfigError: the model has targets or no shared space, no input that can be moved, or
                ``against`` names a model of other data or one that prepares inputs otherwise.
            UnknownModalityError: a modality that the model lacks.
            MissingFileError, CheckpointError: ``against`` names no checkpoint.
        """
        require_shared_space(model, "SetGuided")
        moved = self._moved(model, data)
        mine = _first_rows(model, data)
        for name, other in self._others().items():
            require_shared_space(other, f"SetGuided, on {name},")
            _require_same_data(model, other, name)
            theirs = _first_rows(other, data)
            for m in moved:
                if not _same(mine[m].inputs[m], theirs[m].inputs[m]):
                    raise ConfigError(
                        f"SetGuided: {name} prepares modality {m!r} otherwise than this model, so "
                        "that what was moved for one cannot be shown to the other. Leave it out of "
                        "against, or the modality out of modalities."
                    )
        data.attach(model.preprocess)

    def run(self, setting: Setting) -> SearchCurves:
        """Success by attacked and asked model, moved modalities and budget."""
        model, data = setting.model.to(setting.device), setting.data
        others = {n: m.to(setting.device) for n, m in self._others().items()}
        moved = self._moved(model, data)
        mine = setting.sample(self.rows)
        theirs = {}
        for name, other in others.items():
            data.attach(other.preprocess)
            theirs[name] = other, setting.sample(self.rows)
        data.attach(model.preprocess)
        setting.tell("set-guided attacks", len(self.budgets) + len(others))
        units = typical_lengths(model, mine, Threat(moved, self.norm))
        # Copies get a twentieth of a number's typical size, as inputs of deviation 1 would.
        sizes = typical_lengths(model, mine, Threat(moved, "linf"))
        found = search_curves(
            model,
            mine,
            self.budgets,
            units,
            theirs,
            norm=self.norm,
            steps=self.steps,
            noise=0.05 * min(sizes.values()),
            at=self.at,
            bootstrap=setting.bootstrap,
            seed=setting.seed,
            progress=lambda: setting.tell(None, None),
        )
        of_split = len(data.rows(setting.split))
        return replace(found, meta={**found.meta, "rows_of_split": of_split})

    def _others(self) -> dict[str, FusionModel]:
        names = _names(self.against)
        return {n: checkpoint.load(path) for n, path in zip(names, self.against, strict=True)}

    def _moved(self, model: FusionModel, data: FusionDataModule) -> tuple[str, ...]:
        """The modalities to move.

        Raises:
            ConfigError, UnknownModalityError: as ``check``.
        """
        wanted = model.modalities if self.modalities is None else tuple(self.modalities)
        if unknown := set(wanted) - set(model.modalities):
            raise UnknownModalityError(
                f"SetGuided names {sorted(unknown)}; the model knows {list(model.modalities)}."
            )
        why = movable(model, list(_first_rows(model, data).values()))
        refused = [why[m] for m in wanted if why.get(m)]
        found = tuple(m for m in wanted if why.get(m) == "")
        if not found or (refused and self.modalities is not None):
            raise ConfigError(f"SetGuided has inputs that it cannot move. {' '.join(refused)}")
        return found


def _names(paths: Sequence[str]) -> list[str]:
    """What checkpoints are called: the folder of their run, or the path where that tells none.

    Example:
        >>> _names(["runs/small/version_0/checkpoints/best.ckpt", "large.ckpt"])
        ['small/version_0', 'large']
    """
    found = []
    for path in map(Path, paths):
        folders = [p for p in path.parent.parts if p not in ("checkpoints", "..", "/")]
        is_numbered = folders[-1:] and folders[-1].startswith("version_")
        found.append("/".join(folders[-2 if is_numbered else -1 :]) or path.stem)
    return found if len(set(found)) == len(found) else list(map(str, paths))


def _first_rows(model: FusionModel, data: FusionDataModule) -> dict[str, Batch]:
    """For each modality the first row that has it, prepared for the model."""
    data.attach(model.preprocess)
    dataset = data.dataset("test", missing=None)
    found = {}
    for place, m in enumerate(dataset.modalities):
        rows = dataset.present[:, place].nonzero().flatten()[:1]
        if len(rows):
            found[m] = dataset.__getitems__(rows)
    return found


def _require_same_data(model: FusionModel, other: FusionModel, name: str) -> None:
    mine, theirs = (
        {m: replace(s, mean=(), std=()) for m, s in some.spec.modalities.items()}
        for some in (model, other)
    )
    if mine != theirs:
        strange = sorted(m for m in mine | theirs if mine.get(m) != theirs.get(m))
        raise ConfigError(
            f"SetGuided: {name} was trained on other data, as modality {strange[0]!r} is "
            f"{theirs.get(strange[0], 'absent')} there and {mine.get(strange[0], 'absent')} here. "
            "Give checkpoints of the same data."
        )


def _same(one: RawInput, other: RawInput) -> bool:
    if isinstance(one, Tokens) and isinstance(other, Tokens):
        return _same(one.values, other.values) and _same(one.mask, other.mask)
    if isinstance(one, Tokens) or isinstance(other, Tokens) or one.shape != other.shape:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())
