"""What a list of stages may hold, and what each of them starts from."""

import pytest

from mmfuse.errors import ConfigError
from mmfuse.stages.listed import listed


def stages(*own, **shared):
    return {s.name: s.config for s in listed({**shared, "stages": list(own)})}


def test_a_stage_has_what_all_share_and_what_is_its_own():
    found = stages(
        {"name": "one", "trainer": {"max_epochs": 2}},
        {"name": "two", "model": {"fusion": "MeanFusion"}},
        trainer={"max_epochs": 5},
        model={"modality_dropout": 0.3},
    )
    options = {"modality_dropout": 0.3}
    task = {"class_path": "mmfuse.tasks.SupervisedTask", "init_args": options}
    assert found["one"] == {"trainer": {"max_epochs": 2}, "model": task}
    assert found["two"]["trainer"] == {"max_epochs": 5}
    assert found["two"]["model"]["init_args"] == {"modality_dropout": 0.3, "fusion": "MeanFusion"}


def test_a_shared_model_without_a_class_is_the_supervised_task():
    found = stages(
        {
            "name": "one",
            "model": {"class_path": "SupervisedTask", "init_args": {"dropout_seed": 1}},
        },
        {"name": "two", "model": {"class_path": "CRMTWeightsTask"}},
        model={"modality_dropout": 0.3},
    )
    assert found["one"]["model"]["init_args"] == {"modality_dropout": 0.3, "dropout_seed": 1}
    assert found["two"]["model"] == {"class_path": "CRMTWeightsTask"}


@pytest.mark.parametrize(
    ("own", "start"),
    [
        ({}, "best:one"),
        ({"start_from": None}, None),
        ({"start_from": "old.ckpt"}, "old.ckpt"),
        ({"start_from": "best:one"}, "best:one"),
        ({"model": {"init_args": {"team": "best:one"}}}, None),
    ],
    ids=["nothing", "null", "a path", "a stage", "an argument"],
)
def test_a_stage_that_says_nothing_starts_from_the_one_before(own, start):
    found = stages({"name": "one"}, {"name": "two"} | own)
    assert found["one"].get("start_from") is None
    assert found["two"].get("start_from") == start


def test_it_is_the_stage_just_before():
    assert stages({"name": "a"}, {"name": "b"}, {"name": "c"})["c"]["start_from"] == "best:b"


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ([], r"stages is \[\]; expected a list"),
        ({"one": {}}, "expected a list"),
        (None, "stages is None"),
        (["one"], "Stage 1 has no name"),
        ([{"name": "one"}, {"model": {}}], "Stage 2 has no name"),
        ([{"name": "a/b"}], "Stage 1 has the name 'a/b'"),
        ([{"name": ".."}], "Stage 1 has the name"),
        ([{"name": 1}], "Stage 1 has the name 1"),
        ([{"name": "version_0"}], "not version_<n>"),
        ([{"name": "a"}, {"name": "a"}], "Two stages have the name 'a'"),
        ([{"name": "a", "modle": {}}], "Stage 'a' has 'modle'.*Did you mean 'model'?"),
        ([{"name": "a", "ckpt_path": "last"}], "Stage 'a' has 'ckpt_path'"),
        ([{"name": "a", "trainer": {"default_root_dir": "b"}}], "Stage 'a' has a trainer.default"),
        ([{"name": "a"}, {"name": "b", "start_from": "best"}], "Stage 'b': start_from is 'best'"),
    ],
)
def test_a_wrong_list_is_told(own, told):
    with pytest.raises(ConfigError, match=told):
        listed({"stages": own})


def test_a_start_that_all_would_share_is_refused():
    with pytest.raises(ConfigError, match="start_from stands beside stages"):
        stages({"name": "a"}, start_from="old.ckpt")
