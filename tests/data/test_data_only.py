"""Data of which some modalities alone are used."""

import numpy as np
import pytest
import torch

from mmfuse import ArrayData, CatalogueData, SupervisedTask, Trainer, load
from mmfuse.errors import ConfigError, UnknownModalityError

DRAW = np.random.default_rng(0)
LABEL = np.arange(60) % 2
INPUTS = {m: DRAW.normal(LABEL[:, None], 1, (60, w)) for m, w in {"a": 3, "b": 4, "c": 2}.items()}


def test_the_others_are_not_there():
    data = ArrayData(INPUTS, LABEL, only=["c", "a"], batch_size=4)
    assert list(data.spec.modalities) == ["a", "c"]
    batch = next(iter(data.loader("train", is_training=True)))
    assert batch.modalities == ("a", "c")
    assert batch.inputs.keys() == {"a", "c"}


def test_the_splits_and_the_statistics_are_those_of_all():
    whole, part = ArrayData(INPUTS, LABEL, seed=3), ArrayData(INPUTS, LABEL, seed=3, only=["b"])
    for split in ("train", "val", "test"):
        assert torch.equal(part.rows(split), whole.rows(split))
    assert part.spec.modalities["b"] == whole.spec.modalities["b"]
    assert part.spec.targets == whole.spec.targets


def test_a_row_is_a_double_only_if_it_is_one_in_every_modality():
    inputs = {m: x.copy() for m, x in INPUTS.items()}
    split = np.array(["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    inputs["a"][59] = inputs["a"][0]
    part = ArrayData(inputs, LABEL, split=split, only=["a"])
    assert len(part.rows("train")) == 40
    for m in "bc":
        inputs[m][59] = inputs[m][0]
    part = ArrayData(inputs, LABEL, split=split, only=["a"], on_duplicates="drop")
    assert part.rows("train").tolist() == list(range(1, 40))


def test_other_seeds_and_records_keep_the_choice():
    data = ArrayData(INPUTS, LABEL, only=["b"])
    assert list(data.reseeded(1).spec.modalities) == ["b"]
    named = CatalogueData("digits_quadrants", only=["upper_left"])
    assert named.settings()["init_args"]["only"] == ["upper_left"]
    assert "only" not in named.content()["init_args"]  # the rows hold what they hold


def test_a_model_of_one_modality_reads_the_whole_data_too(tmp_path):
    part = ArrayData(INPUTS, LABEL, only=["b"])
    trainer = Trainer(max_epochs=1, default_root_dir=str(tmp_path), enable_progress_bar=False)
    trainer.fit(SupervisedTask(), datamodule=part)
    best = trainer.checkpoint_callback.best_model_path
    whole = ArrayData(INPUTS, LABEL)
    (scores,) = trainer.test(SupervisedTask(), datamodule=whole, ckpt_path=best, verbose=False)
    model = load(best)
    (batch,) = part.loader("test")
    found = (model(batch).logits["y"][:, 0] > 0).long()
    assert scores["test/accuracy"] == pytest.approx((found == batch.target["y"]).float().mean())


@pytest.mark.parametrize(
    ("only", "error", "words"),
    [
        (["b", "d"], UnknownModalityError, r"only names \['d'\]; the data have \['a', 'b', 'c'\]"),
        ([], ConfigError, "only names no modality"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(only, error, words):
    with pytest.raises(error, match=words):
        ArrayData(INPUTS, LABEL, only=only).setup()
