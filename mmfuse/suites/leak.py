"""LeakCheck: whether who is absent tells the answer by itself."""

from __future__ import annotations

from mmfuse.baselines.leak import FEWEST, mask_leaks
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.conditions import Condition, complete, label_groups, standard_conditions
from mmfuse.robustness.leak_result import LeakResult
from mmfuse.suites.base import Setting, Split, Suite, checked_split


class LeakCheck(Suite):
    """Asks models that read the mask alone for the target, in the data as they are and simulated.

    Where they score above chance, so much of the model's score may come from who is absent and not
    from what modalities say: in the data's own gaps that is a property of the data, under a
    simulator one of the simulator. One condition of each mechanism is asked. A permutation test
    decides, see ``mask_leak``.

    Args:
        split: the rows; cross-validated, so that those of training serve.
        folds: of the cross-validation.
        permutations: how often masks are dealt out anew, among rows or among the data's groups; 0
            for no test.

    Raises:
        ConfigError: fewer than two folds, an unknown split, or permutations that are below 0 or
            too few to find anything.
    """

    name = "leak"

    def __init__(self, split: Split = "train", folds: int = 5, permutations: int = 199) -> None:
        if folds < 2:
            raise ConfigError(f"LeakCheck: folds is {folds}; expected 2 up.")
        if permutations and permutations < FEWEST:
            raise ConfigError(
                f"LeakCheck: permutations is {permutations}; expected {FEWEST} up, as fewer cannot "
                "tell a leak from chance, or 0 for no test."
            )
        self.split, self.folds = checked_split("LeakCheck", split), folds
        self.permutations = permutations

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses a split without rows.

        Raises:
            ConfigError: naming it.
        """
        if not len(data.rows(self.split)):
            raise ConfigError(
                f"LeakCheck reads the {self.split} split, which has no rows. Name another split."
            )

    def run(self, setting: Setting) -> LeakResult:
        """Scores by condition, target and model."""
        conditions = _one_of_each(setting)
        setting.tell("leak check", len(conditions))
        table = mask_leaks(
            setting.data,
            conditions,
            self.split,
            folds=self.folds,
            permutations=self.permutations,
            bootstrap=setting.bootstrap,
            seed=setting.seed,
            progress=lambda name: setting.tell(None, None),
        )
        meta = {
            "split": self.split,
            "conditions": [c.name for c in conditions],
            "permutations": self.permutations,
            "grouped": setting.data.facts(self.split).cluster is not None,
            "bootstrap": setting.bootstrap,
            "seed": setting.seed,
        }
        return LeakResult(table, meta)


def _one_of_each(setting: Setting) -> list[Condition]:
    """The data as they are, and of each simulated mechanism one condition at a middling rate."""
    groups = label_groups(setting.model.spec)
    every = standard_conditions(
        setting.model.modalities, groups, setting.seed, mcar_rates=(0.5,), mar_rates=(0.6,)
    )
    first: dict[str, Condition] = {}
    for condition in every:
        if condition.kept is None:
            first.setdefault(condition.family, condition)
    return [complete(), *(c for c in first.values() if c.family != "complete")]
