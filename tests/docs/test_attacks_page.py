"""The page on attacks: its code runs as printed, and the parts that it names are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import torch

import mmfuse.objectives
import mmfuse.tasks
from mmfuse.cli import main
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


def test_both_steps_of_crmt_run_from_one_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    Path("crmt.yaml").write_text(code)
    (command,) = re.findall(r"^```bash\n(.*?)\n```$", PAGE, re.DOTALL | re.MULTILINE)
    words = shlex.split(command)[1:]
    assert main([*words, "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]) == 0
    first, last = (
        mmfuse.load(f"runs/crmt/{stage}/version_0/checkpoints/best.ckpt").state_dict()
        for stage in ("margin", "weights")
    )
    moved = [name for name in first if not torch.equal(first[name], last[name])]
    assert moved == ["heads.diagnosis.raw_weights"]


def test_what_it_names_is_there() -> None:
    for name in ("CRMTMargin", "CRMTMixMargin", "AdversarialLoss", "UnimodalLoss"):
        assert f"`{name}`" in PAGE
        assert hasattr(mmfuse.objectives, name)
    for name in ("SetGuidedAttack", "transfer_table"):
        assert f"`{name}`" in PAGE
        assert hasattr(attacks, name)
    assert hasattr(mmfuse.tasks, "CRMTWeightsTask")
    assert f"at least {MASKING_GAP:g} more" in PAGE
