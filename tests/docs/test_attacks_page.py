"""The page on attacks: its code runs as printed, and the parts that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import mmfuse.objectives
import mmfuse.tasks
from mmfuse.robustness import attacks
from mmfuse.robustness.attacks.curve_result import MASKING_GAP

PAGE = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()


def test_the_code_runs_as_printed() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(compile(code, "attacks.md", "exec"), names)
    certified, curves = names["certified"], names["curves"]
    assert certified.kind == "certified"
    worst = curves.worst("sound + image")
    for budget, accuracy in zip(worst["budget"], worst["accuracy"], strict=True):
        assert accuracy >= certified.accuracy(budget, "sound + image") - 1e-9


def test_what_it_names_is_there() -> None:
    for name in ("CRMTMargin", "CRMTMixMargin", "AdversarialLoss", "UnimodalLoss"):
        assert f"`{name}`" in PAGE
        assert hasattr(mmfuse.objectives, name)
    for name in ("SetGuidedAttack", "transfer_table"):
        assert f"`{name}`" in PAGE
        assert hasattr(attacks, name)
    assert hasattr(mmfuse.tasks, "CRMTWeightsTask")
    assert f"at least {MASKING_GAP:g} more" in PAGE
