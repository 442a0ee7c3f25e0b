"""`mmfuse extract`: one process, several, a Ray pool: the same files whoever computes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmfuse import ArrayData, Extractor, build_model, features, save
from mmfuse.cli import main

ROWS = 103  # of which no two or three processes have the same share


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A configuration, its data and a checkpoint, in the working directory."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    a, b = source.normal(size=(ROWS, 3)), source.normal(size=(ROWS, 2))
    a[::7] = np.nan
    np.savez("rows.npz", a=a, b=b, y=np.arange(ROWS) % 2)
    data = {
        "class_path": "NpzData",
        "init_args": {
            "path": "rows.npz",
            "modalities": ["a", "b"],
            "targets": "y",
            "eval_batch_size": 5,
        },
    }
    config = {
        "model": {"class_path": "SupervisedTask", "init_args": {"fusion": "SequentialFusion"}},
        "data": data,
    }
    config["model"]["class_path"] = "mmfuse.tasks.SupervisedTask"
    Path("config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    module = ArrayData({"a": a, "b": b}, np.arange(ROWS) % 2)
    save(build_model(module.spec, None, "SequentialFusion"), "model.ckpt")
    return tmp_path


WORDS = ["extract", "--config", "config.yaml", "--ckpt_path", "model.ckpt", "--shard_rows", "8"]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


def test_the_command_says_where_the_features_are(folder, capsys):
    assert main([*WORDS, "--out", "one", "--what", "[a,fused,logits]"]) == 0
    told = capsys.readouterr().out.strip().splitlines()
    assert told[-1] == "Features: one (103 rows: a, fused, logits.target.y)"
    found = features.load("one")
    assert found["row"][:] == list(range(ROWS))
    assert [v is None for v in found["a"]] == [i % 7 == 0 for i in range(ROWS)]
    assert main([*WORDS, "--out", "one", "--what", "[a,fused,logits]"]) == 0  # nothing is left


def test_untrained_encoders_are_refused(folder, capsys):
    assert main(["extract", "--config", "config.yaml", "--out", "f"]) == 2
    assert "have not been trained" in capsys.readouterr().err
    assert not Path("f").exists()


def test_a_frozen_encoder_among_others_needs_no_checkpoint(folder, capsys):
    words = ["--config", "config.yaml", "--model.encoders.b=LinearEncoder"]
    frozen = """{class_path: MLPEncoder, init_args: {frozen: true}}"""
    words += [f"--model.encoders.a={frozen}"]
    assert main(["extract", *words, "--out", "f"]) == 2
    assert "here ['a']" in capsys.readouterr().err
    assert main(["extract", *words, "--out", "f", "--what=[a]"]) == 0
    assert features.load("f").column_names == ["row", "split", "a", "target.y"]
    run = ["--trainer.max_epochs=2", "--trainer.default_root_dir"]
    assert main(["fit", *words, *run, "raw"]) == 0
    assert main(["fit", *words, *run, "fast", "--data.init_args.cached={a: f}"]) == 0
    raw, fast = (pd.read_csv(f"{n}/version_0/metrics.csv") for n in ("raw", "fast"))
    pd.testing.assert_frame_equal(raw, fast, rtol=1e-4)


def test_another_checkpoint_does_not_mix_with_what_is_there(folder, capsys):
    assert main([*WORDS, "--out", "f"]) == 0
    before = files(Path("f"))
    Path("config.yaml").write_text(Path("config.yaml").read_text() + "seed_everything: 5\n")
    torch.manual_seed(1)
    model = build_model(
        ArrayData({"a": np.random.rand(9, 3), "b": np.random.rand(9, 2)}, [0, 1, 0] * 3).spec,
        None,
        "SequentialFusion",
    )
    save(model, "model.ckpt")
    assert main([*WORDS, "--out", "f"]) == 2
    assert "another plan" in capsys.readouterr().err
    assert files(Path("f")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "launcher"), [(2, "torchrun"), (3, "torchrun"), (2, "lightning")]
)
def test_processes_share_the_work_without_gap_or_overlap(folder, count, launcher):
    assert main([*WORDS, "--out", "one"]) == 0
    words = ["-m", "mmfuse.cli", *WORDS, "--out", "many", "--trainer.accelerator=cpu"]
    if launcher == "torchrun":
        words = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(count),
            *words,
        ]
    else:
        words += [f"--trainer.devices={count}", "--trainer.strategy=ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert files(Path("many")) == files(Path("one"))
    assert features.load("many")["row"][:] == list(range(ROWS))


@pytest.mark.slow
def test_a_ray_pool_gives_the_same_files(folder):
    assert main([*WORDS, "--out", "one"]) == 0
    words = [sys.executable, "-m", "mmfuse.cli", *WORDS, "--out", "many", "--engine=ray"]
    ran = subprocess.run([*words, "--actors=2"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert files(Path("many")) == files(Path("one"))


def test_two_processes_cannot_do_the_same_part(folder):
    from mmfuse.errors import ConfigError
    from mmfuse.features.work import alone

    module = ArrayData({"a": np.random.rand(9, 3)}, [0, 1, 0] * 3)
    extractor = Extractor(build_model(module.spec, None, "MeanFusion"))
    extractor.extract(module, "f")
    for who in ("0-of-1", "1-of-2", "ray"):
        with alone(Path("f"), who), pytest.raises(ConfigError, match="Another process"):
            extractor.extract(module, "f")
    with alone(Path("f"), "0-of-2"), alone(Path("f"), "1-of-2"):
        pass
    extractor.extract(module, "f")
