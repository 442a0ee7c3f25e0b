"""OOD: how well the model tells rows of other data from its own."""

from __future__ import annotations

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.data.loader import ResumableLoader
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import UnimodalLoss
from mmfuse.robustness.ood import OODResult, evaluate_ood
from mmfuse.robustness.ood.evaluate import check_names
from mmfuse.robustness.ood.result import Shift
from mmfuse.robustness.ood.standard import class_target_of
from mmfuse.robustness.ood.trained_heads import has_unimodal_heads, unimodal_heads
from mmfuse.spec import DataSpec
from mmfuse.suites.base import Setting, Split, Suite, checked_split


class OOD(Suite):
    """Tells rows out of distribution from the model's own, by every score that it allows.

    Scores are fitted on the model's training rows. Where the checkpoint has unimodal heads their
    disagreement is a score too.

    Args:
        sets: for each name the data whose rows are out of distribution. A modality of the model
            that they lack counts as absent, one that it does not know is not read.
        shifts: for each name ``near`` (classes held out) or ``far`` (other data).
        split: which rows of these data.
        target: which of the model's targets; None where one alone has classes.

    Raises:
        ConfigError: no set, one that is called ``in`` or ``train``, a shift of no set or no kind,
            or an unknown split.
    """

    name = "ood"

    def __init__(
        self,
        sets: dict[str, FusionDataModule],
        shifts: dict[str, Shift] | None = None,
        split: Split = "test",
        target: str | None = None,
    ) -> None:
        if not sets:
            raise ConfigError("OOD needs rows out of distribution; give sets, a name for each.")
        check_names(sets, shifts or {}, None)
        self.sets, self.shifts, self.target = dict(sets), shifts or {}, target
        self.split = checked_split("OOD", split)

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses a model without classes, data without training rows, and sets that do not fit.

        Raises:
            ConfigError: saying why.
            DataError, UnknownModalityError: naming the set that the model cannot read.
        """
        class_target_of(model, self.target)
        if not len(data.rows("train")):
            raise ConfigError(
                "OOD fits its scores on training rows, and the data have none. Give the data that "
                "the model was trained on."
            )
        for name, other in self.sets.items():
            if other is data:
                raise ConfigError(
                    f"OOD set {name!r} is the very object that is studied. Give other data, or "
                    "make it anew."
                )
            _rows(model, name, other, self.split)

    def run(self, setting: Setting) -> OODResult:
        """Every score's metrics on every set."""
        model = setting.model
        others = {name: _rows(model, name, data, self.split) for name, data in self.sets.items()}
        mine, train = setting.batches(), setting.batches("train")
        setting.tell("out of distribution", sum(map(len, [mine, train, *others.values()])))
        return evaluate_ood(
            model,
            train,
            mine,
            others,
            target=self.target,
            heads=_heads(setting),
            shifts=self.shifts,
            device=setting.device,
            bootstrap=setting.bootstrap,
            seed=setting.seed,
            progress=lambda name, done: setting.tell(None, None),
        )


def _rows(
    model: FusionModel, name: str, data: FusionDataModule, split: Split
) -> ResumableLoader[Batch]:
    """Batches of other data as the model reads them, without their labels."""
    has = data.read().modalities
    shared = {m: s for m, s in model.spec.modalities.items() if m in has}
    if not shared:
        raise UnknownModalityError(
            f"OOD set {name!r} has the modalities {list(has)}; the model reads "
            f"{list(model.modalities)}. Give data that have one of them at least."
        )
    data.adopt(DataSpec(shared))
    data.attach({m: prepare for m, prepare in model.preprocess.items() if m in shared})
    try:
        return data.loader(split, missing=None)
    except DataError as error:
        raise DataError(f"OOD set {name!r}: {error}") from error


def _heads(setting: Setting) -> UnimodalLoss | None:
    if setting.checkpoint is None or not has_unimodal_heads(setting.checkpoint):
        return None
    return unimodal_heads(setting.checkpoint, setting.model)
