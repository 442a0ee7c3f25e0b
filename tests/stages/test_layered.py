"""A stage's own keys over what all stages share."""

import copy

import pytest

from mmfuse.stages.layered import layered

SHARED = {
    "trainer": {"max_epochs": 10, "callbacks": [{"class_path": "A"}]},
    "model": {
        "class_path": "mmfuse.tasks.SupervisedTask",
        "init_args": {
            "fusion": {"class_path": "GatedFusion", "init_args": {"out_dim": 8}},
            "modality_dropout": 0.3,
        },
    },
}


def test_mappings_are_joined_and_everything_else_is_replaced():
    found = layered(SHARED, {"trainer": {"max_epochs": 3}, "data": {"class_path": "NpzData"}})
    assert found["trainer"] == SHARED["trainer"] | {"max_epochs": 3}
    assert found["model"] == SHARED["model"]
    assert list(found) == ["trainer", "model", "data"]
    assert layered(SHARED, {"trainer": {"callbacks": []}})["trainer"]["callbacks"] == []
    assert layered(SHARED, {"trainer": None})["trainer"] is None


def test_what_is_shared_stays_as_it_is():
    before = copy.deepcopy(SHARED)
    layered(SHARED, {"model": {"fusion": {"init_args": {"hidden": 4}}, "modality_dropout": 0}})
    assert before == SHARED


@pytest.mark.parametrize(
    "own",
    [
        {"fusion": {"init_args": {"hidden": 4}}},
        {"init_args": {"fusion": {"init_args": {"hidden": 4}}}},
        {"class_path": "SupervisedTask", "init_args": {"fusion": {"hidden": 4}}},
        {"fusion": {"class_path": "mmfuse.fusion.GatedFusion", "init_args": {"hidden": 4}}},
    ],
    ids=["in short", "in full", "by its name", "by its path"],
)
def test_options_of_the_same_class_are_joined_however_they_are_written(own):
    options = layered(SHARED, {"model": own})["model"]["init_args"]
    assert options["fusion"]["init_args"] == {"out_dim": 8, "hidden": 4}
    assert options["modality_dropout"] == 0.3


@pytest.mark.parametrize("fusion", ["ConcatFusion", {"class_path": "ConcatFusion"}])
def test_another_fusion_inherits_no_option_of_the_old_one(fusion):
    options = layered(SHARED, {"model": {"fusion": fusion}})["model"]["init_args"]
    assert options == {"fusion": fusion, "modality_dropout": 0.3}


def test_another_task_replaces_the_shared_one_whole():
    own = {"class_path": "CRMTWeightsTask", "init_args": {"fusion": "CRMTFusion"}}
    assert layered(SHARED, {"model": own})["model"] == own


def test_classes_of_one_name_in_two_modules_are_two():
    own = {"class_path": "mine.GatedFusion", "init_args": {"hidden": 4}}
    shared = {"class_path": "mmfuse.fusion.GatedFusion", "init_args": {"out_dim": 8}}
    assert layered(shared, own) == own


def test_a_name_alone_takes_options():
    found = layered({"fusion": "GatedFusion"}, {"fusion": {"init_args": {"out_dim": 8}}})
    assert found["fusion"] == {"class_path": "GatedFusion", "init_args": {"out_dim": 8}}
