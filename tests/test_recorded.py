import functools
import json

import numpy as np
import pytest
import torch

from mmfuse import ModalitySpec
from mmfuse.encoder import Encoder
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.fusion import ConcatFusion, Fusion, GatedFusion
from mmfuse.missing import MCAR, Missingness
from mmfuse.objectives import SupervisedLoss
from mmfuse.recorded import Recorded, describe, factory, in_words, rebuild
from mmfuse_encoders import MLPEncoder


class Holder(Recorded):
    """Holds anything, another recorded object among it."""

    def __init__(self, value=None, **more):
        self.value, self.more = value, more


class Child(Holder):
    """Hands on another value than it was given."""

    def __init__(self, name):
        super().__init__(value=name.upper())


class Heir(Holder):
    """Has no constructor of its own."""


def through_json(description):
    return json.loads(json.dumps(description))


def test_describe_and_rebuild_give_the_same_object_again():
    again = rebuild(through_json(describe(MCAR(rate=0.3, seed=7))))
    assert isinstance(again, MCAR)
    assert (again.rate, again.seed) == (0.3, 7)


def test_arguments_given_by_position_are_kept_by_name():
    assert describe(MCAR(0.3))["init_args"] == {"rate": 0.3}


def test_recorded_objects_inside_arguments_are_rebuilt_too():
    holder = Holder({"deep": [Holder(MCAR(0.5)), 1]}, extra=Holder(2))
    again = rebuild(through_json(describe(holder)))
    assert again.value["deep"][0].value.rate == 0.5
    assert again.value["deep"][1] == 1
    assert again.more["extra"].value == 2


def test_a_subclass_is_described_by_what_it_was_given_not_by_what_it_hands_on():
    description = describe(Child("anna"))
    assert description["init_args"] == {"name": "anna"}
    assert rebuild(description).value == "ANNA"


def test_a_subclass_without_a_constructor_records_too():
    again = rebuild(describe(Heir(3)))
    assert (type(again), again.value) == (Heir, 3)


def test_arguments_named_in_without_are_left_to_the_builder():
    description = describe(ConcatFusion({"a": 4}, out_dim=8), without=("dims",))
    assert description["init_args"] == {"out_dim": 8}
    assert rebuild(description, {"b": 2}).dims == {"b": 2}


def test_numpy_scalars_become_plain_numbers():
    plain = describe(Holder([np.int64(3), np.float32(0.5), np.bool_(True)][:2]))
    assert plain["init_args"]["value"] == [3, 0.5]
    assert [type(v) for v in plain["init_args"]["value"]] == [int, float]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(torch.nn.Linear(1, 1), "Linear"), (torch.zeros(2), "Tensor"), (len, "builtin_function")],
)
def test_what_a_checkpoint_cannot_hold_is_named_with_its_place(value, kind):
    with pytest.raises(ConfigError, match=rf"Holder\.value\['x'\] is a {kind}"):
        describe(Holder({"x": value}))


def test_a_class_that_nothing_can_import_cannot_be_described():
    class Hidden(Recorded):
        pass

    with pytest.raises(ConfigError, match=r"Hidden is defined in .* Move the class to a module"):
        describe(Hidden())


@pytest.mark.parametrize("path", ["no_such_package.Fusion", "mmfuse.fusion.NoSuch", "Fusion"])
def test_rebuilding_a_class_that_cannot_be_imported_says_what_to_install(path):
    with pytest.raises(CheckpointError, match=r"Cannot import .* Install the package"):
        rebuild({"class_path": path})


@pytest.mark.parametrize("path", ["subprocess.Popen", "os.system", "builtins.eval", "torch.load"])
def test_a_checkpoint_cannot_call_what_is_not_a_recorded_class(path):
    with pytest.raises(CheckpointError, match="is not a Recorded"):
        rebuild({"class_path": path, "init_args": {}})
    nested = {"class_path": path, "init_args": {}}
    with pytest.raises(CheckpointError, match="is not a Recorded"):
        rebuild(describe(Holder()) | {"init_args": {"value": [nested]}})


def test_rebuild_wants_the_kind_that_was_asked_for():
    with pytest.raises(CheckpointError, match="MCAR is not a Fusion"):
        rebuild(describe(MCAR(0.5)), base=Fusion)


def test_arguments_that_the_class_does_not_take_are_refused():
    description = {"class_path": "mmfuse.missing.mcar.MCAR", "init_args": {"odds": 3}}
    with pytest.raises(CheckpointError, match=r"\['odds'\].*Install the version"):
        rebuild(description, base=Missingness)


@pytest.mark.parametrize(
    "given",
    [
        MLPEncoder,
        "MLPEncoder",
        "mmfuse_encoders.MLPEncoder",
        {"class_path": "MLPEncoder"},
        functools.partial(MLPEncoder, out_dim=64),
        {"class_path": "mmfuse_encoders.MLPEncoder", "init_args": {"out_dim": 64}},
    ],
)
def test_a_component_may_be_written_in_every_usual_way(given):
    encoder = factory(Encoder, given)(ModalitySpec.of(3))
    assert isinstance(encoder, MLPEncoder)
    assert encoder.out_dim == 64


def test_options_beside_a_class_path_reach_the_class():
    given = {"class_path": "MLPEncoder", "init_args": {"out_dim": 5, "hidden": [2, 3]}}
    assert describe(factory(Encoder, given)(7))["init_args"]["hidden"] == [2, 3]
    assert factory(Encoder, given)(7).out_dim == 5


def test_a_component_that_is_none_of_these_is_refused():
    with pytest.raises(ConfigError, match=r"Expected a Fusion as a class.*found int: 3"):
        factory(Fusion, 3)


def test_in_words_names_classes_and_partials_without_calling_them():
    assert in_words(GatedFusion) == "mmfuse.fusion.gated.GatedFusion"
    assert in_words(functools.partial(GatedFusion, out_dim=3)) == {
        "class_path": "mmfuse.fusion.gated.GatedFusion",
        "init_args": {"out_dim": 3},
    }
    assert in_words("GatedFusion") == "GatedFusion"
    assert in_words(None) is None


def test_an_encoder_is_frozen_once_the_whole_of_it_is_built():
    encoder = MLPEncoder(3, frozen=True)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.train().training


def test_an_objective_keeps_its_options():
    again = rebuild(describe(SupervisedLoss(weight=0.5, read_every_step=False)))
    assert (again.weight, again.read_every_step) == (0.5, False)
