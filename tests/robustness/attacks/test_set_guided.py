import numpy as np
import pytest
import torch

from mmfuse import Batch, DataSpec, ModalitySpec
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.model import Towers
from mmfuse.robustness.attacks import SetGuidedAttack, transfer_table
from mmfuse.unit import unit
from mmfuse_encoders import HashedNgramEncoder, ImageCNNEncoder, LinearEncoder, MLPEncoder

BOTH = {"a": 0.5, "b": 0.5}


@pytest.fixture
def aligned():
    """Two towers whose vectors agree: the second reads a rotation of the first's input."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6)).Q
    spec = DataSpec({"a": ModalitySpec.of(6), "b": ModalitySpec.of(6)})
    models = {}
    for name in ("one", "two"):
        a, b = LinearEncoder(6, 6), LinearEncoder(6, 6)
        with torch.no_grad():
            b.map.weight.copy_(a.map.weight @ turn.T)
            b.map.bias.copy_(a.map.bias)
        models[name] = Towers(spec, {"a": a, "b": b})
    x = torch.randn(40, 6)
    present = torch.ones(40, 2, dtype=torch.bool)
    present[0, 0] = present[1, 1] = False
    inputs = {"a": x.masked_fill(~present[:, :1], torch.nan), "b": x @ turn.T}
    return models, Batch(("a", "b"), inputs, present)


def agreement(model, batch):
    with torch.no_grad():
        tokens = model.eval().encode(batch)
    both = (unit(tokens["a"].pooled()) * unit(tokens["b"].pooled())).sum(dim=1)
    return both[batch.present.all(dim=1)]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [{"a": 0.5}, BOTH])
def test_partners_are_driven_apart_within_the_budget(aligned, norm, eps):
    models, batch = aligned
    moved = SetGuidedAttack(eps, norm).search(models["one"], batch)
    assert agreement(models["one"], moved).mean() < agreement(models["one"], batch).mean() - 0.02
    for m in ("a", "b"):
        delta = (moved.inputs[m] - batch.inputs[m])[batch.present[:, 0] & batch.present[:, 1]]
        length = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(dim=1)
        assert (length <= eps.get(m, 0) + 1e-5).all()
    assert moved.inputs["a"][0].isnan().all()


def test_a_row_without_a_partner_stays_as_it_is(aligned):
    models, batch = aligned
    moved = SetGuidedAttack(BOTH).search(models["one"], batch)
    assert torch.equal(moved.inputs["b"][0], batch.inputs["b"][0])
    assert torch.equal(moved.inputs["a"][1], batch.inputs["a"][1])
    together = SetGuidedAttack({"b": 0.5}).search(
        models["one"], batch, torch.zeros(40, dtype=torch.long)
    )
    assert not torch.equal(together.inputs["b"][0], batch.inputs["b"][0])


def test_an_attack_does_more_than_noise_and_less_elsewhere(aligned):
    models, batch = aligned
    table = transfer_table(models, batch, SetGuidedAttack(BOTH), "a", "b")
    assert len(table) == 2 * 2 * 3 * 2
    success = table.set_index(["source", "target", "moved", "by"])["success"]
    assert (table["queries"] == 38).all()
    for name in ("one", "two"):
        both = success[name, name, "a + b", "attack"]
        assert both >= success[name, name, "a", "attack"]
        assert both > success[name, name, "a + b", "noise"] + 0.2
    crossed = success["one", "two", "a + b", "attack"], success["two", "one", "a + b", "attack"]
    own = success["one", "one", "a + b", "attack"], success["two", "two", "a + b", "attack"]
    assert success["one", "two", "a + b", "noise"] <= sum(crossed) / 2 <= sum(own) / 2


def test_images_are_looked_at_in_other_sizes_and_texts_lead_without_moving():
    torch.manual_seed(0)
    modalities = {"image": ModalitySpec("image", (3, 8, 8)), "text": ModalitySpec("text")}
    encoders = {
        "image": ImageCNNEncoder(modalities["image"], 8, hidden=4, layers=2),
        "text": HashedNgramEncoder(modalities["text"], 8),
    }
    model = Towers(DataSpec(modalities), encoders)
    text = encoders["text"].preprocess(["one", "two words", "three", "four"])
    inputs = {"image": torch.rand(4, 3, 8, 8), "text": text}
    batch = Batch(("image", "text"), inputs, torch.ones(4, 2).bool())
    attack = SetGuidedAttack({"image": 0.1}, valid={"image": (0.0, 1.0)})
    moved = attack.search(model, batch).inputs["image"]
    assert (moved - inputs["image"]).abs().amax() <= 0.1 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    with pytest.raises(ConfigError, match="'text'"):
        SetGuidedAttack({"text": 0.1}).search(model, batch)


def test_mistakes_are_refused_in_words(aligned):
    models, batch = aligned
    for options in ({"eps": {}}, {"eps": {"a": 0.0}}, {"eps": BOTH, "steps": 0}):
        with pytest.raises(ConfigError, match="SetGuidedAttack"):
            SetGuidedAttack(**options)
    with pytest.raises(UnknownModalityError, match="'c'"):
        SetGuidedAttack({"c": 1.0}).search(models["one"], batch)
    with pytest.raises(ConfigError, match="found none"):
        transfer_table({}, batch, SetGuidedAttack(BOTH), "a", "b")
    nobody = batch.keep(torch.tensor([[False, True]]).expand(40, -1))
    table = transfer_table(models, nobody, SetGuidedAttack(BOTH), "a", "b")
    assert np.isnan(table["success"]).all()


def test_a_model_keeps_its_mode_and_has_no_gradient_left():
    spec = DataSpec({m: ModalitySpec.of(3) for m in "ab"})
    model = Towers(spec, {m: MLPEncoder(3, 4) for m in "ab"}).train()
    batch = Batch(("a", "b"), {m: torch.randn(5, 3) for m in "ab"}, torch.ones(5, 2).bool())
    SetGuidedAttack(BOTH).search(model, batch)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
