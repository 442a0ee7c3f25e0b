"""What `mmfuse robustness` does: a trained model and its data -> tables and report."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmfuse import checkpoint
from mmfuse.baselines import BASELINES, modality_scores, readable
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.files import replacing, require_writable
from mmfuse.model import FusionModel
from mmfuse.recorded import described_or_named
from mmfuse.robustness import (
    Condition,
    complete,
    complete_conditions,
    evaluate,
    label_groups,
    standard_conditions,
)
from mmfuse.robustness.conditions import MCAR_RATES
from mmfuse.robustness.findings import BASELINES as BASELINE_FILE
from mmfuse.robustness.findings import PARTS, Findings
from mmfuse.robustness.report import print_report, write_report
from mmfuse.robustness.training import simulator_in_words, training_absence
from mmfuse.suites.base import Setting, Split, Suite, Tell

#: Which conditions of absence a study has.
Absence = Literal["standard", "complete"]


def robustness_run(
    data: FusionDataModule,
    folder: str | Path,
    model: FusionModel | None = None,
    ckpt_path: str | Path | None = None,
    split: Split = "test",
    suites: Sequence[Suite] = (),
    absence: Absence = "standard",
    mcar_rates: Sequence[float] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    has_progress_bar: bool = True,
) -> Findings:
    """Evaluates a model under every condition of absence and in every suite, and reports.

    The folder gets the tables of ``RobustnessResult``, ``baselines.parquet``, a folder for each
    suite, PNG pictures and ``report.html``; what an earlier study with other suites left there
    goes. Classical models on each modality alone, and on all of them joined,
    stand beside the model wherever the data has training rows; they read no raw pictures,
    sounds and videos. A model without a target is measured by search, see ``evaluate``, and
    stands beside chance.

    Args:
        data: where the rows are.
        folder: of the report.
        model: a trained model, with the absence that ``data`` simulates in training.
        ckpt_path: a checkpoint instead. Its classes and statistics count, not the data's.
        split: the rows.
        suites: what to study besides absence.
        absence: the ``standard_conditions``, or the ``complete_conditions``, which add absence
            with a structure and are calibrated on training rows where there are some.
        mcar_rates: rates missing completely at random; 0.1 to 0.9 by default.
        bootstrap: resamples behind each interval.
        seed: of simulated absence, resamples and baselines.
        device: where to compute.
        has_progress_bar: show one, and the tables, on the terminal.

    Raises:
        OutputError: the folder cannot be written; told before anything is computed.
        ConfigError: neither a trained model nor a checkpoint, no known split, two suites of one
            kind, or a suite that cannot study the model; told before anything is computed.
        CheckpointError, DataError, UnknownModalityError: data and checkpoint do not fit.
    """
    folder = Path(folder)
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split is {split!r}; expected train, val or test.")
    if absence not in get_args(Absence):
        raise ConfigError(f"absence is {absence!r}; expected standard or complete.")
    names = [suite.name for suite in suites]
    if len(set(names)) < len(names):
        raise ConfigError(f"suites names a kind twice: {names}. Give each once.")
    require_writable(folder)
    model, trained_with = _trained(data, model, ckpt_path)
    data.attach(model.preprocess)
    for suite in suites:
        _require_target(suite, model)
        suite.check(model, data)
    rates = MCAR_RATES if mcar_rates is None else tuple(mcar_rates)
    conditions = _conditions(absence, model, data, seed, rates)
    batches = data.loader(split, missing=None)
    with _progress(has_progress_bar) as tell:
        tell(f"{len(conditions)} conditions", len(batches))
        result = evaluate(
            model,
            batches,
            data.facts(split),
            conditions,
            device=device,
            bootstrap=bootstrap,
            seed=seed,
            trained_with=trained_with,
            progress=lambda done: tell(None, None),
        )
        if thresholds := _median_risks(model, data, device):
            result.meta["risk_thresholds"] = thresholds
        # Classical models predict a target; none of them searches.
        baselines = _baselines(data, split, bootstrap, seed, tell) if model.heads else None
        checkpoint_path = None if ckpt_path is None else Path(ckpt_path)
        setting = Setting(
            model, data, split, result, checkpoint_path, device, bootstrap, seed, tell
        )
        parts = {suite.name: suite.run(setting) for suite in suites}
        findings = Findings(result, baselines, **parts)  # type: ignore[arg-type]
        tell("writing the report", 1)
        result.save(folder)
        for name in PARTS:
            if name in parts:
                parts[name].save(folder / name)
            else:
                shutil.rmtree(folder / name, ignore_errors=True)
        if baselines is None:
            (folder / BASELINE_FILE).unlink(missing_ok=True)
        else:
            with replacing(folder / BASELINE_FILE) as part:
                baselines.to_parquet(part)
        page = write_report(findings, folder)
        tell(None, None)
    if has_progress_bar:
        print_report(findings)
        print(f"Report: {page}")
    return findings


def _require_target(suite: Suite, model: FusionModel) -> None:
    if suite.needs_target and not model.heads:
        raise ConfigError(
            f"{type(suite).__name__} studies what a model predicts, and this one predicts no "
            "target: its modalities find each other. Leave the suite out; SetGuided attacks such "
            "models."
        )


@contextlib.contextmanager
def _progress(is_shown: bool) -> Iterator[Tell]:
    """A bar, and a function that names its work and its length, or takes a step for None."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not is_shown) as bar:
        task = bar.add_task("evaluating", total=None)

        def tell(work: str | None, total: int | None) -> None:
            if work is None:
                bar.advance(task)
            else:
                bar.update(task, description=work, total=total, completed=0)

        yield tell


def _trained(
    data: FusionDataModule, model: FusionModel | None, ckpt_path: str | Path | None
) -> tuple[FusionModel, dict[str, Any]]:
    """The model, and what is known of absence in its training."""
    if ckpt_path is None:
        if model is None:
            raise ConfigError(
                "There is no trained model to evaluate. Give a checkpoint, such as "
                "--ckpt_path=runs/version_0/checkpoints/best.ckpt or --ckpt_path=best."
            )
        own = described_or_named(data.missing) if data.missing else None
        return model, {"missing": simulator_in_words(own)}
    content = checkpoint.read(ckpt_path)
    model = checkpoint.load(ckpt_path)
    data.adopt(model.spec)
    return model, {"checkpoint": Path(ckpt_path).name, **training_absence(content)}


def _conditions(
    absence: Absence,
    model: FusionModel,
    data: FusionDataModule,
    seed: int,
    rates: tuple[float, ...],
) -> list[Condition]:
    groups = label_groups(model.spec)
    # Of a search the item stays, so that a row may lose all that it asks with.
    keep_one = bool(model.heads)
    if absence == "standard":
        return standard_conditions(model.modalities, groups, seed, rates, keep_one=keep_one)
    facts = data.facts("train") if len(data.rows("train")) else None
    return complete_conditions(
        model.modalities, facts, groups, seed, keep_one=keep_one, mcar_rates=rates
    )


def _median_risks(
    model: FusionModel, data: FusionDataModule, device: torch.device | str
) -> dict[str, list[float]]:
    """For each survival target the median risk of the training rows, where risk groups part."""
    targets = [t for t in model.heads if model.spec.targets[t].kind == "survival"]
    if not targets or not len(data.rows("train")):
        return {}
    found = evaluate(
        model,
        data.loader("train", missing=None),
        data.facts("train"),
        [complete()],
        device=device,
        bootstrap=0,
        importance=False,
    ).predictions
    return {t: [float(found.loc[found["target"] == t, "prediction"].median())] for t in targets}


def _baselines(
    data: FusionDataModule, split: Split, bootstrap: int, seed: int, tell: Tell
) -> pd.DataFrame | None:
    count = len(readable(data))
    if not count or not len(data.rows("train")):
        return None
    tell("baselines", len(BASELINES) * (count + (count > 1)))
    return modality_scores(data, split, bootstrap, seed, lambda name: tell(None, None))
