import math

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, CRMTFusion, LateMeanFusion
from mmfuse.objectives import CRMTMargin, CRMTMixMargin
from mmfuse.objectives.crmt import margin_terms
from mmfuse.objectives.crmt_mix import mixed_terms
from mmfuse.objectives.mixing import Mix
from mmfuse.tokens import Tokens


def run(objective, model, batch, is_training):
    objective.build(model)
    objective.double().train(is_training)
    torch.manual_seed(0)
    return objective(model, batch, model.encode(batch), model(batch))


def test_the_mixed_margin_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    scores = torch.randn(9, 3, 4, dtype=torch.float64) * 2
    label, other = torch.arange(9) % 4, torch.arange(9) % 3
    share, present = torch.rand(9, dtype=torch.float64), torch.rand(9, 3) < 0.7
    found = mixed_terms(scores, label, other, share, present)
    for i in range(9):
        y, z, part = int(label[i]), int(other[i]), float(share[i])
        total = 1e-5
        for m in range(3):
            s = scores[i, m].tolist()
            middle = part * s[y] + (1 - part) * s[z]
            if present[i, m]:
                total += sum(math.exp(s[k] - middle) for k in range(4) if k not in (y, z))
        assert found[i].item() == pytest.approx(math.log(total))
    whole = mixed_terms(scores, label, label, torch.ones(9).double(), present)
    torch.testing.assert_close(whole, margin_terms(scores, label, present))


@pytest.mark.parametrize("fusion", [CRMTFusion, LateMeanFusion])
def test_nothing_is_mixed_in_evaluation(make_model, batch, fusion):
    model = make_model(fusion, ("ill",))
    found = run(CRMTMixMargin(margin=1.0), model, batch, False)
    plain = run(CRMTMargin(), model, batch, False)
    torch.testing.assert_close(found["ill_margin"], plain["ill"])
    mixed = run(CRMTMixMargin(margin=1.0), model, batch, True)
    assert abs(mixed["ill_ce"] - found["ill_ce"]) > 1e-4


def test_mixed_rows_count_by_the_classes_of_both_parts(make_model, batch, monkeypatch):
    model = make_model(LateMeanFusion, ("ill",))
    objective = CRMTMixMargin(margin=2.0)
    label = batch.target["ill"]
    partner, share = torch.arange(12), 0.3
    known = (label >= 0).nonzero().flatten()
    partner[known] = known.roll(1)
    shares = torch.where(label >= 0, share, 1.0)
    monkeypatch.setattr(objective, "_drawn", lambda valid: Mix(partner, shares))
    found = run(objective, model, batch, True)

    tokens = {
        m: t.keep(batch.present[:, i]) for i, (m, t) in enumerate(model.encode(batch).items())
    }
    part = shares.double().view(-1, 1, 1)
    mixed = {
        m: Tokens(part * t.values + (1 - part) * t.values[partner], t.mask | t.mask[partner])
        for m, t in tokens.items()
    }
    present = batch.present & batch.present[partner]
    with torch.no_grad():
        output = model.read(model.fuse(mixed, present), present)
    log_chance = model.spec.targets["ill"].predict(output.logits["ill"]).log()
    alone = model.spec.targets["ill"].class_scores(model.heads["ill"](output.fused.votes)).detach()
    weights = {0: 1.0, 1: 4.0}  # the target's, as no shares are known
    total = {"ce": 0.0, "margin": 0.0}
    count = 0.0
    for i in known.tolist():
        if not present[i].any():
            continue
        y, z = int(label[i]), int(label[partner[i]])
        a, b = share * weights[y], (1 - share) * weights[z]
        total["ce"] -= float(a * log_chance[i, y] + b * log_chance[i, z])
        term = mixed_terms(alone[[i]], label[[i]], label[partner[[i]]], part[i, 0], present[[i]])
        total["margin"] += (a + b) * float(term)
        count += a + b
    assert found["ill_ce"].item() == pytest.approx(total["ce"] / count)
    assert found["ill_margin"].item() == pytest.approx(2 * total["margin"] / count)


def test_one_share_mixes_all_rows_that_have_a_label():
    objective = CRMTMixMargin()
    valid = torch.tensor([True, False, True, True])
    mix = objective._drawn(valid)
    assert mix.share[1] == 1
    assert len(set(mix.share[valid].tolist())) == 1
    assert mix.partner[1] == 1
    draws = torch.stack([objective._drawn(valid).share[0] for _ in range(400)])
    assert abs(draws.mean() - 0.5) < 0.06


def test_it_needs_votes_classes_and_numbers_that_mean_something(make_model):
    with pytest.raises(ConfigError, match="late fusion"):
        CRMTMixMargin().build(make_model(ConcatFusion))
    for options in ({"alpha": 0.0}, {"margin": -1.0}):
        with pytest.raises(ConfigError, match="CRMTMixMargin"):
            CRMTMixMargin(**options)
