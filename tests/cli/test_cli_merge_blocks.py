"""mmfuse merge --method lego as a person uses it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import mmfuse
from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.cli import main
from mmfuse.fusion import LegoMergeFusion
from mmfuse.merging import merge_blocks
from mmfuse_encoders import LinearEncoder

SIZE = {"out_dim": 4, "latents": 4, "heads": 1, "head_dim": 4, "hidden": 4, "layers": 1}
WIDTHS = {"a": 3, "b": 2}
PATHS = ["a.ckpt", "b.ckpt"]
LEGO = ["merge", *PATHS, "--method", "lego"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with two blocks, and the data and configuration that fit both together."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for name, width in WIDTHS.items():
        spec = DataSpec({name: ModalitySpec.of(width)}, {"y": TargetSpec("binary", ("0", "1"))})
        fusion = LegoMergeFusion({name: 4}, **SIZE)
        encoder = LinearEncoder(width, out_dim=4)
        mmfuse.save(FusionModel(spec, {name: encoder}, fusion), f"{name}.ckpt")
    label = np.arange(40) % 2
    np.savez("rows.npz", y=label, **{m: np.random.rand(40, w) for m, w in WIDTHS.items()})
    encoder = {"class_path": "LinearEncoder", "init_args": {"out_dim": 4}}
    config = {
        "model": {
            "encoders": dict.fromkeys(WIDTHS, encoder),
            "fusion": {"class_path": "LegoStackFusion", "init_args": SIZE},
        },
        "data": {
            "class_path": "NpzData",
            "init_args": {
                "path": "rows.npz",
                "modalities": list(WIDTHS),
                "targets": "y",
                "standardise": False,
            },
        },
        "trainer": {"max_epochs": 1, "enable_progress_bar": False},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))


def same(path, model):
    found, wanted = mmfuse.load(path).state_dict(), model.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[k], wanted[k]) for k in wanted)


def told(capsys):
    return capsys.readouterr().out.strip().splitlines()


def test_blocks_are_joined_into_one_file(capsys):
    assert main(LEGO) == 0
    assert told(capsys) == ["Merged: merged.ckpt"]
    assert same("merged.ckpt", merge_blocks(PATHS))


def test_weights_belong_to_the_blocks_in_their_order(capsys):
    words = ["--weights", "1", "3", "--heads", "karcher", "--out", "other.ckpt"]
    assert main([*LEGO, *words]) == 0
    assert same("other.ckpt", merge_blocks(PATHS, heads="karcher", weights={"a": 1, "b": 3}))


def test_a_stack_is_joined_and_then_tuned(capsys):
    assert main([*LEGO, "--fusion", "LegoStackFusion", "--out", "stack.ckpt"]) == 0
    assert "--start_from stack.ckpt" in told(capsys)[0]
    assert same("stack.ckpt", merge_blocks(PATHS, "LegoStackFusion"))
    assert main(["fit", "--config", "config.yaml", "--start_from", "stack.ckpt"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lambdas", "0.5"], "--lambdas belongs to other methods, not to lego"),
        (["--config", "config.yaml"], "--data belongs to other methods"),
        (["--weights", "1"], "There are 1 weights for 2 blocks"),
        (["--fusion", "SumFusion"], "cannot become a SumFusion"),
        (["--fusion", "LegoFusion"], "Unknown Fusion 'LegoFusion'"),
        (["--heads", "median"], "heads is 'median'"),
        (["--out", "a.ckpt"], "a.ckpt is one of the blocks"),
        (["--method", "uniform", "--heads", "slerp"], "--heads belongs to lego, not to uniform"),
    ],
)
def test_a_mistake_gets_one_sentence(words, said, capsys):
    assert main([*LEGO, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
