"""Trainer: fits and scores as Lightning's does, and makes reports, features and studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning as L

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import Missingness
from mmfuse.recommend.data import RecommendationData
from mmfuse.run_trainer import RunTrainer
from mmfuse.suites.base import Suite
from mmfuse.tasks import SupervisedTask

if TYPE_CHECKING:
    import pandas as pd

    from mmfuse.recommend.robustness import RankingRobustness
    from mmfuse.robustness.findings import Findings


class Trainer(RunTrainer):
    """What a person does with a model beyond fitting and scoring it; arguments as ``RunTrainer``.

    Each method below is a subcommand of ``mmfuse`` too.
    """

    def robustness(
        self,
        model: L.LightningModule | None = None,
        datamodule: FusionDataModule | RecommendationData | None = None,
        ckpt_path: str | Path | None = None,
        split: Literal["train", "val", "test"] = "test",
        out: str | Path | None = None,
        suites: list[Suite] | None = None,
        absence: Literal["standard", "complete"] = "standard",
        mcar_rates: list[float] | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> Findings | RankingRobustness:
        """Reports what happens when modalities are absent, and what the suites study besides.

        Of a recommender it is the items that lose modalities, and rankings that are measured.

        Args:
            model: a trained task; not needed with ``ckpt_path``.
            datamodule: the data.
            ckpt_path: a checkpoint to evaluate instead; ``best`` or ``last`` is this
                Trainer's own, or the newest in ``default_root_dir``.
            split: the rows to evaluate.
            out: folder of the report; the run's folder by default.
            suites: what to study besides absence: ``mmfuse list suites``.
            absence: ``complete`` adds modalities that are lost one by one, at unequal rates, in
                blocks, bursts and clusters, calibrated on training rows.
            mcar_rates: rates of modalities missing at random; 0.1 to 0.9 by default.
            bootstrap: resamples behind each interval.
            seed: seed of the simulated absence.

        Returns:
            the numbers; the folder holds them too, with ``report.html``, or with pictures for a
            recommender.
        """
        if datamodule is None:
            raise ConfigError("A robustness report needs data; give a datamodule.")
        folder = out or Path(self.log_dir or self.default_root_dir) / "robustness"
        trained, found = getattr(model, "model", None), self._instead(model, ckpt_path)
        device, is_shown = self.strategy.root_device, self.progress_bar_callback is not None
        if isinstance(datamodule, RecommendationData):
            if suites:
                raise ConfigError("Suites study models of rows; leave them out for a recommender.")
            from mmfuse.recommend.robustness.run import ranking_robustness_run

            ks = getattr(model, "ks", None)
            return ranking_robustness_run(
                datamodule,
                folder,
                trained,
                found,
                split,
                mcar_rates,
                ks,
                bootstrap,
                seed,
                device,
                is_shown,
            )
        from mmfuse.suites.run import robustness_run

        return robustness_run(
            datamodule,
            folder,
            trained,
            found,
            split,
            suites or (),
            absence,
            mcar_rates,
            bootstrap,
            seed,
            device,
            is_shown,
        )

    def extract(
        self,
        model: L.LightningModule | None = None,
        datamodule: FusionDataModule | None = None,
        ckpt_path: str | Path | None = None,
        out: str = "features",
        what: list[str] | None = None,
        split: Literal["train", "val", "test"] | None = None,
        format: Literal["parquet", "safetensors"] = "parquet",
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        shard_rows: int = 8192,
        on_error: Literal["raise", "absent", "skip"] = "raise",
        engine: Literal["local", "ray"] = "local",
        actors: int = 2,
    ) -> dict[str, Any] | None:
        """Writes features to files that other tools read; goes on where it stopped.

        Computes on the Trainer's device and processes, in its ``precision`` (``32-true`` or
        ``bf16-mixed``).

        Args:
            model: a trained task, or one whose encoders are frozen; not needed with
                ``ckpt_path``.
            datamodule: the data; ``eval_batch_size`` and ``workers`` count.
            ckpt_path: a checkpoint, ``best`` or ``last``.
            out: folder of the features.
            what: a modality's name for its pooled vector, ``<modality>.tokens`` for its
                tokens, ``fused``, ``steps``, ``logits``; the modalities and ``fused`` by
                default.
            split: the rows; all by default, with a column that tells the split.
            format: ``parquet`` or ``safetensors``.
            dtype: of the stored numbers; Parquet has no bfloat16.
            shard_rows: rows a file.
            on_error: what happens to a row that cannot be read: ``raise`` stops, ``absent``
                counts its modality as absent, ``skip`` leaves the row out; the manifest
                lists it.
            engine: ``ray`` spreads the shards over a pool of Ray actors.
            actors: size of that pool.

        Returns:
            the manifest, or None while other processes are still at work.
        """
        from mmfuse.extract_run import extract_run

        if datamodule is None:
            raise ConfigError("Features are extracted from data; give a datamodule.")
        _require_rows(datamodule, "extract")
        return extract_run(
            self,
            datamodule,
            out,
            model,
            self._instead(model, ckpt_path, datamodule),
            engine,
            actors,
            what=what,
            split=split,
            format=format,
            dtype=dtype,
            shard_rows=shard_rows,
            batch_size=datamodule.eval_batch_size,
            on_error=on_error,
        )

    def retrieve(
        self,
        model: L.LightningModule | None = None,
        datamodule: FusionDataModule | None = None,
        ckpt_path: str | Path | None = None,
        split: Literal["train", "val", "test"] = "test",
        out: str | Path | None = None,
        ks: list[int] | None = None,
    ) -> pd.DataFrame:
        """Measures how modalities that share a space find each other.

        For a folder of features: mmfuse retrieve --features FOLDER.

        Args:
            model: a trained ``AlignmentTask``, or with ``ckpt_path`` one whose settings tell the
                classes and how their names are written.
            datamodule: the data.
            ckpt_path: a checkpoint to evaluate instead; ``best`` or ``last``.
            split: the rows to evaluate.
            out: folder of ``retrieval.csv`` and ``retrieval.png``; the run's by default.
            ks: where to measure recall; 1, 5 and 10 by default.

        Returns:
            one line a direction; the folder holds it too.
        """
        from mmfuse.retrieve_run import retrieve_run

        if datamodule is None:
            raise ConfigError("Retrieval is measured on data; give a datamodule.")
        _require_rows(datamodule, "retrieve")
        return retrieve_run(
            datamodule,
            out or Path(self.log_dir or self.default_root_dir) / "retrieval",
            model,
            self._instead(model, ckpt_path),
            split,
            (1, 5, 10) if ks is None else ks,
            self.strategy.root_device,
            self.progress_bar_callback is not None,
        )

    def compare(
        self,
        model: L.LightningModule,
        datamodule: FusionDataModule,
        fusions: dict[str, Callable[[dict[str, int]], Fusion] | SupervisedTask],
        seeds: list[int] | None = None,
        conditions: dict[str, Missingness | None] | None = None,
        out: str = "comparison",
        baselines: bool = True,
        best_test_epoch: bool = False,
        metrics: list[str] | None = None,
    ) -> pd.DataFrame:
        """Trains several fusions over several seeds into one table; goes on where it stopped.

        Args:
            model: the task; its encoders, objectives and optimizer serve every fusion.
            datamodule: the data.
            fusions: the table's lines: a name and a fusion for each, or (in Python) a task of
                its own.
            seeds: the seeds; 0 to 4 by default.
            conditions: test-time absence, a name and a simulator for each; the complete
                test rows always come first.
            out: folder of the tables, and of the finished runs.
            baselines: add scikit-learn's logistic regression and histogram gradient
                boosting on the joined features.
            best_test_epoch: also report the epoch that was best on the test rows, as some
                published tables do.
            metrics: metrics to show, the most important first; all by default.

        Returns:
            the summary: mean and half-width of the 95 % interval over seeds.
        """
        from mmfuse.compare import Study

        if not isinstance(model, SupervisedTask):
            raise ConfigError(f"compare varies a SupervisedTask; found {type(model).__name__}.")
        _require_rows(datamodule, "compare")
        study = Study(
            model,
            datamodule,
            self.fresh,
            fusions,
            list(range(5)) if seeds is None else seeds,
            conditions or {},
            Path(out),
            baselines,
            best_test_epoch,
        )
        summary = study.run(metrics)
        if self.progress_bar_callback is not None:
            print((Path(out) / "table.md").read_text())
            print(f"Table: {Path(out) / 'table.md'}")
        return summary


def _require_rows(data: object, command: str) -> None:
    if not isinstance(data, FusionDataModule):
        raise ConfigError(
            f"{command} needs data of rows; found {type(data).__name__}. Give the data whose rows "
            "are the items, or another set of rows."
        )
