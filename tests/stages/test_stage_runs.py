"""Records of a stage's runs: what is finished, what to go on from, and what became of files."""

from pathlib import Path

import pytest

from mmfuse.errors import DataError
from mmfuse.stages.references import names_in, with_paths
from mmfuse.stages.runs import Plan, StageRun, runs_in, why_anew

PLAN = Plan({"trainer": {"max_epochs": 3}}, {"teacher": "version_0"})


def run(folder, number, files=(), plan=PLAN, **options):
    """A run that keeps some checkpoints."""
    made = StageRun(folder / f"version_{number}", plan, **options)
    kept = made.folder / "checkpoints"
    kept.mkdir(parents=True)
    for name in files:
        (kept / name).touch()
    made.save()
    return made


def finished(folder, number, **options):
    best = folder / f"version_{number}" / "checkpoints" / "best.ckpt"
    return run(folder, number, ["best.ckpt", "last.ckpt"], best=best, **options)


def test_a_record_is_read_as_it_was_written(tmp_path):
    made = finished(tmp_path, 0, after="version_3")
    assert StageRun.read(made.folder) == made
    assert made.is_finished


def test_a_folder_of_runs_may_move(tmp_path):
    finished(tmp_path / "here", 0)
    (tmp_path / "here").rename(tmp_path / "there")
    (found,) = runs_in(tmp_path / "there")
    assert found.is_finished
    assert found.best == tmp_path / "there/version_0/checkpoints/best.ckpt"


def test_the_newest_comes_first_and_folders_without_a_record_are_none(tmp_path):
    for number in (2, 10, 9):
        run(tmp_path, number)
    (tmp_path / "version_11").mkdir()
    assert [r.folder.name for r in runs_in(tmp_path)] == ["version_10", "version_9", "version_2"]


def test_a_run_that_was_stopped_at_once_goes_on_from_the_one_before(tmp_path):
    first = run(tmp_path, 0, ["last.ckpt"])
    second = run(tmp_path, 1, after="version_0")
    third = run(tmp_path, 2, after="version_1")
    assert not first.is_finished
    assert third.last == second.last == first.last
    assert run(tmp_path, 3).last is None
    assert run(tmp_path, 4, after="version_7").last is None  # somebody has removed it


def test_a_best_checkpoint_that_was_removed_is_lost(tmp_path):
    made = finished(tmp_path, 0)
    made.best.unlink()
    assert made.is_lost
    assert not made.is_finished


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    made = run(tmp_path, 0)
    (made.folder / "stage.json").write_text("{")
    with pytest.raises(DataError, match=r"version_0/stage\.json cannot be read.*Remove it"):
        runs_in(tmp_path)


def test_what_changed_is_told(tmp_path):
    newest, old = run(tmp_path, 1), run(tmp_path, 0)
    longer = Plan({"trainer": {"max_epochs": 4}}, PLAN.uses)
    told = why_anew([newest, old], longer)
    assert told == "trainer.max_epochs: version_1 has 3, the configuration has 4"
    assert why_anew([newest, old], Plan(PLAN.config, {"teacher": "version_1"})) == (
        "teacher ran anew"
    )


def test_references_are_found_and_replaced_wherever_they_stand():
    config = {"a": [{"b": "best:one"}, 1], "c": "best:two", "d": "best", "e": None}
    assert list(names_in(config)) == ["one", "two"]
    found = with_paths(config, {"one": str(Path("runs/one.ckpt"))})
    assert found == config | {"a": [{"b": "runs/one.ckpt"}, 1]}
