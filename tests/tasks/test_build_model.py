import functools

import pytest

from mmfuse import DataSpec, ModalitySpec, TargetSpec, build_model
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import ConcatFusion, GatedFusion
from mmfuse.tasks.build import default_encoder
from mmfuse_encoders import LinearEncoder, MLPEncoder

SPEC = DataSpec(
    {"image": ModalitySpec.of(3), "report": ModalitySpec.of(5)}, {"y": TargetSpec("regression")}
)
DEFAULTS = {
    "vector": (ModalitySpec.of(4), "MLPEncoder"),
    "table": (ModalitySpec("table", (3,), categories=(4,)), "TableMLPEncoder"),
    "image": (ModalitySpec.of((1, 8, 8)), "ImageCNNEncoder"),
    "series": (ModalitySpec.of((None, 2)), "SeriesCNNEncoder"),
    "text": (ModalitySpec("text"), "HashedNgramEncoder"),
    "tokens": (ModalitySpec("tokens", (None, 4)), "TokenProjectionEncoder"),
}


class BetterMLPEncoder(MLPEncoder):
    """A variant of the default, whose name stands before it."""


@pytest.mark.parametrize("kind", DEFAULTS)
def test_every_kind_of_input_has_a_default_encoder_that_takes_it(kind):
    spec, name = DEFAULTS[kind]
    model = build_model(DataSpec({"m": spec}, SPEC.targets), None, "ConcatFusion")
    assert spec.kind == kind
    assert type(model.encoders["m"]).__name__ == name


def test_a_variant_of_the_default_encoder_does_not_replace_it():
    assert default_encoder("m", ModalitySpec.of(4)) is MLPEncoder


def test_a_kind_without_a_default_asks_for_a_name():
    with pytest.raises(ConfigError, match=r"'m' \(smell\) has no default encoder; name one"):
        default_encoder("m", ModalitySpec("smell", (3,)))


def test_nobody_types_a_width():
    model = build_model(SPEC, {"image": LinearEncoder, "report": "MLPEncoder"}, GatedFusion)
    assert model.encoders["image"].map.in_features == 3
    assert model.fusion.dims == {"image": 64, "report": 64}
    assert model.heads["y"].out_features == 1


def test_encoders_and_fusion_may_be_written_in_every_usual_way():
    model = build_model(
        SPEC,
        {
            "image": functools.partial(LinearEncoder, out_dim=7),
            "report": {"class_path": "MLPEncoder", "init_args": {"out_dim": 9, "hidden": [2]}},
        },
        {"class_path": "mmfuse.fusion.ConcatFusion", "init_args": {"out_dim": 5}},
    )
    assert isinstance(model.fusion, ConcatFusion)
    assert model.dims == {"image": 7, "report": 9}
    assert model.fusion.out_dim == 5


def test_the_mapping_of_encoders_sets_the_fusion_order():
    model = build_model(SPEC, {"report": MLPEncoder, "image": MLPEncoder}, "SequentialFusion")
    assert model.modalities == ("report", "image")
    assert build_model(SPEC, None, "SequentialFusion").modalities == ("image", "report")


def test_a_star_stands_for_every_modality_without_an_encoder_of_its_own():
    model = build_model(SPEC, {"*": "LinearEncoder"}, GatedFusion)
    assert [type(e) for e in model.encoders.values()] == [LinearEncoder, LinearEncoder]
    assert model.encoders["image"] is not model.encoders["report"]
    mixed = build_model(SPEC, {"*": LinearEncoder, "image": MLPEncoder}, GatedFusion)
    assert list(mixed.encoders) == ["report", "image"]
    assert [type(e) for e in mixed.encoders.values()] == [LinearEncoder, MLPEncoder]


def test_an_encoder_for_an_unknown_modality_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownModalityError) as caught:
        build_model(SPEC, {"imag": MLPEncoder, "report": MLPEncoder}, "ConcatFusion")
    assert str(caught.value) == (
        "Encoders are named for ['imag', 'report'], the data has ['image', 'report']. "
        "'imag' may be 'image'. Name one encoder for each modality of the data."
    )


def test_a_modality_without_an_encoder_is_refused():
    with pytest.raises(UnknownModalityError, match=r"\['image'\], the data has .* 'report'\]"):
        build_model(SPEC, {"image": MLPEncoder}, "ConcatFusion")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError, match=r"Fusion 'GatedFuson'\. Did you mean 'GatedFusion'\?"):
        build_model(SPEC, None, "GatedFuson")
    with pytest.raises(ConfigError, match=r"Encoder 'MLP'.* Known: .*LinearEncoder"):
        build_model(SPEC, {"image": "MLP", "report": "MLP"}, "ConcatFusion")


def test_an_option_that_a_class_does_not_take_says_whose_it_is():
    wrong = {"class_path": "MLPEncoder", "init_args": {"depth": 3}}
    with pytest.raises(ConfigError, match=r"Encoder of 'report': .*'depth'.* Check its options"):
        build_model(SPEC, {"image": MLPEncoder, "report": wrong}, "ConcatFusion")
    with pytest.raises(ConfigError, match=r"Fusion: .*'depth'"):
        build_model(SPEC, None, {"class_path": "ConcatFusion", "init_args": {"depth": 3}})


def test_an_encoder_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="ImageCNNEncoder takes image, the modality is vector"):
        build_model(SPEC, dict.fromkeys(SPEC.modalities, "ImageCNNEncoder"), "ConcatFusion")
