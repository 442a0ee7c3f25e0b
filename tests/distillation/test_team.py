"""What teachers say: one mask at a time, rows that count, nothing of what is absent."""

import pytest
import torch
from distilled_rows import WIDTHS, batch_of, classes, model_of, team_of

from mmfuse.distillation.said import can_tell, say
from mmfuse.fusion import LateMeanFusion, SequentialFusion


@pytest.fixture
def batch():
    return batch_of()


@pytest.mark.parametrize(
    ("teacher", "student", "wanted"),
    [
        ("abc", "a", lambda r: r[0] and (r[1] or r[2])),
        ("bc", "a", lambda r: r[0] and (r[1] or r[2])),
        ("a", "a", lambda r: r[0]),
        ("a", "ab", lambda r: r[0] and r[1]),
        ("abc", "bca", lambda r: any(r)),
    ],
)
def test_rows_count_where_a_teacher_sees_something_else(batch, teacher, student, wanted):
    found = can_tell(batch, teacher, student)
    assert found.tolist() == [bool(wanted(r)) for r in batch.present.tolist()]


@pytest.mark.parametrize("fusion", [LateMeanFusion, SequentialFusion])
def test_a_mask_acts_alone_and_leaves_the_teacher_as_it_is(batch, fusion):
    teacher = model_of("abc", classes(), 0, fusion)
    team = team_of(classes(), fusion=fusion)
    masks = [m for m in team.masks if m.of == "teacher"]
    counted = can_tell(batch, "abc", "a")
    together = say(teacher, batch, masks, counted)
    assert torch.equal(together[0].logits["y"], teacher(batch).logits["y"])
    for mask, said in zip(masks, together[1:], strict=True):
        alone = say(teacher, batch, [mask], counted)[1]
        assert torch.equal(said.logits["y"], alone.logits["y"])
    changed = together[1].logits["y"] != together[0].logits["y"]
    assert torch.equal(changed.any(dim=1), batch.present[:, 1])


def test_a_mask_is_what_its_equation_says(batch):
    team = team_of(classes())
    mask = team.masks[0]
    tokens = team.teacher.encode(batch)["b"]
    f = tokens.values[:, 0]
    hidden = (f @ mask.narrow.weight.T + mask.narrow.bias).clamp(min=0)
    factor = 1 / (1 + torch.exp(-(hidden @ mask.widen.weight.T + mask.widen.bias)))
    assert torch.allclose(mask.over(tokens).values[:, 0], f * factor, atol=1e-12)
    assert torch.allclose(mask(f), f * factor, atol=1e-12)


def test_the_pool_is_named_in_the_order_in_which_it_speaks(batch):
    team, student = team_of(classes()), model_of("a", classes(), 2)
    plain, pool = team.say(batch, student)
    assert team.pool == ["teacher_b", "teacher_fused", "auxiliary_c"]
    assert len(pool) == 3
    assert torch.equal(plain.logits["y"], team.teacher(batch).logits["y"])
    bare = team_of(classes(), masks=False)
    plain, pool = bare.say(batch, student)
    assert bare.pool == ["teacher", "auxiliary"]
    assert torch.equal(pool[1].logits["y"], bare.auxiliary(batch.only("bc")).logits["y"])


def test_absent_content_changes_nothing_that_is_said():
    team, student, batch = team_of(classes()), model_of("a", classes(), 2), batch_of()
    clean = team.say(batch, student)
    inputs = {m: x.clone() for m, x in batch.inputs.items()}
    for i, m in enumerate(WIDTHS):
        inputs[m][~batch.present[:, i]] = float("nan")
    spoilt = team.say(type(batch)(batch.modalities, inputs, batch.present), student)
    for one, two in zip([clean[0], *clean[1]], [spoilt[0], *spoilt[1]], strict=True):
        assert torch.equal(one.logits["y"], two.logits["y"])
        assert all(torch.equal(one.vectors[v], two.vectors[v]) for v in one.vectors)
