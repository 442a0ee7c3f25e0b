"""The table of docs/encoders.md names every encoder and says of each what is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from mmfuse.encoder import Encoder
from mmfuse.registry import known, resolve
from mmfuse.spec import ModalitySpec
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.pretrained import PretrainedEncoder

PAGE = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text()
LINES = re.findall(r"^\| `(\w+Encoder)` \|(.*)\|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
ENCODERS = {n: c for n, c in known(Encoder).items() if c.__module__.startswith("mmfuse_encoders.")}
every_line = pytest.mark.parametrize("line", LINES, ids=[name for name, *_ in LINES])
# What the modules that a line's encoder stands in are installed with.
EXTRAS = {
    "transformers": ("Clap", "TransformersText"),
    "timm": ("Timm",),
    "av": ("FramePool", "TorchvisionVideo"),
}


def test_the_table_names_every_encoder_once_in_order() -> None:
    assert [name for name, *_ in LINES] == sorted(ENCODERS)


@every_line
def test_a_line_says_what_the_encoder_reads(line: tuple[str, ...]) -> None:
    cls, reads = ENCODERS[line[0]], line[1]
    kinds = set(re.findall(r"\b(audio|image|series|table|text|tokens|vector|video)\b", reads))
    assert kinds == cls.kinds
    assert ("(default)" in reads) == bool(cls.default_for)
    assert ("gaps" in reads) == cls.takes_gaps


@every_line
def test_a_line_says_what_the_encoder_gives_and_what_adapts_it(line: tuple[str, ...]) -> None:
    name, _, gives, adapters, needs = (part.strip() for part in line)
    options = inspect.signature(ENCODERS[name]).parameters
    assert gives == ("vector or tokens" if {"tokens", "pool"} & set(options) else "vector")
    assert (adapters == "yes") == ("adapter" in options)
    assert (adapters == "yes") == issubclass(ENCODERS[name], PretrainedEncoder)
    assert needs == next((x for x, of in EXTRAS.items() if name.startswith(of)), "")


def test_the_adapters_are_those_there_are() -> None:
    named = re.findall(r"^\| `([A-Z]\w+)`[^|]*\| [^|]+ \|$", PAGE, re.MULTILINE)
    ours = {n for n, c in known(Adapter).items() if c.__module__.startswith("mmfuse_encoders.")}
    assert set(named) == ours


def test_the_configuration_names_encoders_and_adapters_with_options_that_they_have() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    photo = yaml.safe_load(block)["model"]["encoders"]["photo"]
    adapter = photo["init_args"].pop("adapter")
    made = resolve(Adapter, adapter["class_path"])(**adapter["init_args"])
    options = {**photo["init_args"], "weights": None}  # which are not at hand
    encoder = resolve(Encoder, photo["class_path"])(ModalitySpec("image"), adapter=made, **options)
    assert encoder.out_dim == 64
    assert not encoder.frozen
    assert yaml.safe_load(block)["model"]["encoders"]["note"] in ENCODERS
