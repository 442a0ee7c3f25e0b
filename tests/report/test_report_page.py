from __future__ import annotations

import base64
import dataclasses
import gzip
import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from report_results import result_of

from mmfuse import TargetSpec
from mmfuse.errors import OutputError
from mmfuse.fusion import ConcatFusion, SequentialFusion
from mmfuse.robustness import RobustnessResult
from mmfuse.robustness.report import BASELINE_COLUMNS, write_report
from mmfuse.robustness.report.words import score_of

PICTURES = {"subsets", "mcar", "shifts", "importance", "calibration", "steps"}


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def markup(page: str) -> str:
    """The page without plotly's own source."""
    start = page.index('<script id="plotly"')
    return page[:start] + page[page.index("</script>", start) + len("</script>") :]


def plotly(page: str) -> str:
    """Plotly's own source, unpacked."""
    packed = page.split('<script id="plotly" type="text/plain">')[1].split("</script>")[0]
    return gzip.decompress(base64.b64decode(packed)).decode()


def figures(page: str) -> list[dict]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return [json.loads(content) for content in found]


@pytest.fixture(scope="module")
def both(
    sequential: RobustnessResult,
    concatenated: RobustnessResult,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A report on two models with baselines."""
    lines = [
        ("logistic regression", "left", "kind", "accuracy", 0.41, 0.31, 0.51),
        ("logistic regression", "left,right", "kind", "accuracy", 0.62, 0.52, 0.72),
        ("logistic regression", "left,right", "kind", "macro_f1", 0.53, 0.43, 0.63),
    ]
    return write_report(
        {"in order": sequential, "side by side": concatenated},
        tmp_path_factory.mktemp("both"),
        pd.DataFrame(lines, columns=list(BASELINE_COLUMNS)),
        title="Two <models> & more",
    )


@pytest.fixture(scope="module")
def page(both: Path) -> str:
    return both.read_text(encoding="utf-8")


def test_the_report_is_a_page_and_its_pictures(both: Path):
    assert written(both.parent) == {"report.html", *(f"{name}.png" for name in PICTURES)}
    for name in PICTURES:
        assert (both.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_loads_nothing_from_elsewhere(page: str):
    assert not re.search(r"""(src|href)\s*=\s*["']|url\(|@import|https?://""", markup(page))
    assert "plotly.js v" in plotly(page)
    assert "</script" not in page.split('<script id="plotly"')[1].split("</script>")[0]
    assert len(page) < 5_000_000


def test_the_page_holds_every_score_of_every_model(
    page: str, sequential: RobustnessResult, concatenated: RobustnessResult
):
    for result in (sequential, concatenated):
        for _, line in result.conditions.iterrows():
            assert f"<td>{score_of(line)}</td>" in page
    assert page.count("<h2>") == 3
    assert "dropout: rate 0.3; order: left, right" in page


def test_figures_show_the_models_side_by_side(page: str):
    mcar = next(f for f in figures(page) if "rate of absence" in json.dumps(f["layout"]))
    assert [t["name"] for t in mcar["data"] if "name" in t] == ["in order", "side by side"]


def test_baselines_stand_beside_the_fused_models_under_the_same_subset(
    page: str, sequential: RobustnessResult
):
    section = page[page.index("What each modality tells alone") :]
    section = section[: section.index("</section>")]
    lines = sequential.main("kind")
    ours = lines[lines["present"] == "left"].iloc[0]
    assert f'<th scope="row">left only</th><td>in order</td><td>{score_of(ours)}</td>' in section
    assert "<td>logistic regression</td><td>0.410 [0.310, 0.510]</td>" in section
    assert "<td>macro F1</td><td>0.530 [0.430, 0.630]</td>" in section
    assert "right only" not in section


def test_the_title_is_escaped(page: str):
    assert page.count("Two &lt;models&gt; &amp; more") == 2


def test_regression_has_no_calibration_section(page: str):
    regression = page[page.index("<h2>Target: size</h2>") :]
    assert "Brier" not in regression
    assert "Calibration" not in regression
    assert "R²" in regression


def test_names_never_become_markup(tmp_path: Path):
    name = "</script><b>x</b>$y$"
    result = result_of(
        SequentialFusion,
        (name, "_right"),
        {"kind": TargetSpec("multiclass", classes=("<i>", "b", "c"))},
    )
    page = markup(write_report({"<u>one</u>": result}, tmp_path).read_text(encoding="utf-8"))
    assert "<b>" not in page
    assert "<u>" not in page
    assert html.escape(name) in page
    assert page.count("</script>") == page.count("<script")


def test_a_fusion_without_steps_has_no_such_section_or_picture(
    concatenated: RobustnessResult, tmp_path: Path
):
    page = write_report(concatenated, tmp_path)
    assert "after each step" not in page.read_text(encoding="utf-8")
    assert "ConcatFusion" in page.read_text(encoding="utf-8")
    assert written(tmp_path) == {"report.html", *(f"{n}.png" for n in PICTURES - {"steps"})}


def test_pictures_of_an_earlier_report_that_no_longer_apply_go(
    concatenated: RobustnessResult, tmp_path: Path
):
    (tmp_path / "steps.png").write_bytes(b"old")
    (tmp_path / "mine.png").write_bytes(b"kept")
    write_report(concatenated, tmp_path)
    assert not (tmp_path / "steps.png").exists()
    assert (tmp_path / "mine.png").read_bytes() == b"kept"


@pytest.mark.parametrize("bootstrap", [0, 20])
def test_one_modality_and_no_intervals_make_a_report(tmp_path: Path, bootstrap: int):
    kind = {"kind": TargetSpec("multiclass", classes=("a", "b", "c"))}
    result = result_of(ConcatFusion, ("only",), kind, bootstrap)
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert "Missing completely at random (MCAR)</h3>" not in page
    assert f"{result.main('kind')['value'].iloc[0]:.3f}" in page


def test_undefined_scores_make_a_report(sequential: RobustnessResult, tmp_path: Path):
    nothing = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    result = dataclasses.replace(sequential, conditions=sequential.conditions.assign(**nothing))
    assert "<td>undefined</td>" in write_report(result, tmp_path).read_text(encoding="utf-8")


def test_estimated_shapley_values_say_so(sequential: RobustnessResult, tmp_path: Path):
    result = dataclasses.replace(
        sequential,
        importance=sequential.importance.assign(shapley=0.25, shapley_se=0.0125),
        meta={**sequential.meta, "shapley": "estimate"},
    )
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert "<td>+0.250 ± 0.013</td>" in page or "<td>+0.250 ± 0.012</td>" in page
    assert "estimated from sampled orders" in page


def test_a_folder_that_cannot_be_made_is_an_output_error(
    sequential: RobustnessResult, tmp_path: Path
):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Cannot write .*file"):
        write_report(sequential, tmp_path / "file" / "report")
    assert written(tmp_path) == {"file"}


def test_a_full_disk_leaves_the_old_report(
    sequential: RobustnessResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "report.html").write_text("old")
    whole = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "report.html" in path.name:
            whole(path, content[:100])
            raise OSError(28, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_report(sequential, tmp_path)
    assert str(caught.value).count("Cannot write") == 1
    assert written(tmp_path) == {"report.html"}
    assert (tmp_path / "report.html").read_text() == "old"
