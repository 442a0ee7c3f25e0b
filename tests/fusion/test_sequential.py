import itertools

import pytest
import torch

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import SequentialFusion
from mmfuse.tokens import Tokens


def chain(fusion, row, order):
    """The states of one row after each of its present modalities, the initial one first."""
    states = [fusion.prior]
    for m in order:
        if m in row:
            states.append(
                fusion.hidden[m](row[m].mean(dim=0)) + fusion.carry[m].weight @ states[-1]
            )
    return states


def test_the_state_passes_through_the_present_modalities_in_the_given_order(sample, agrees):
    fusion = SequentialFusion(sample.dims, out_dim=6, hidden=5)
    agrees(fusion, lambda row: chain(fusion, row, "abc")[-1])


def test_every_step_is_handed_out_with_who_made_it(sample, shake):
    fusion = shake(SequentialFusion(sample.dims, out_dim=6, hidden=5))
    fused = fusion(sample.tokens, sample.present, order=["c", "a", "b"])
    assert fused.step_modality.tolist() == [-1, 2, 0, 1]
    assert fused.step_present[:, 0].all()
    assert torch.equal(fused.step_present[:, 1:], sample.present[:, [2, 0, 1]])
    torch.testing.assert_close(fused.steps[:, -1], fused.vector)
    for i in range(8):
        expected = torch.stack(chain(fusion, sample.row(i), "cab"))
        torch.testing.assert_close(fused.steps[i][fused.step_present[i]], expected)


def test_a_skipped_step_repeats_the_state_bit_for_bit(sample):
    fused = SequentialFusion(sample.dims).double()(sample.tokens, sample.present)
    skipped = ~fused.step_present[:, 1:]
    assert torch.equal(fused.steps[:, 1:][skipped], fused.steps[:, :-1][skipped])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_order_of_each_rows_own_equals_the_named_order(order, sample, shake):
    fusion = shake(SequentialFusion(sample.dims, out_dim=6, hidden=5))
    named = fusion(sample.tokens, sample.present, order=["abc"[i] for i in order])
    by_row = fusion(sample.tokens, sample.present, order=torch.tensor([order] * 8))
    torch.testing.assert_close(by_row.steps, named.steps)
    torch.testing.assert_close(by_row.vector, named.vector)
    assert torch.equal(by_row.step_present, named.step_present)
    assert torch.equal(by_row.step_modality, named.step_modality.expand(8, -1))


def test_rows_of_one_batch_can_follow_different_orders(sample, shake):
    fusion = shake(SequentialFusion(sample.dims, out_dim=6, hidden=5))
    order = torch.stack([torch.randperm(3) for _ in range(8)])
    fused = fusion(sample.tokens, sample.present, order=order)
    for i in range(8):
        states = chain(fusion, sample.row(i), ["abc"[k] for k in order[i]])
        torch.testing.assert_close(fused.vector[i], states[-1])


def test_random_order_is_drawn_in_training_and_never_in_evaluation(sample):
    torch.manual_seed(0)
    fusion = SequentialFusion(sample.dims, order="random").double()
    fused = [fusion(sample.tokens, sample.present) for _ in range(60)]
    assert {tuple(f.step_modality.tolist()) for f in fused} == {
        (-1, *p) for p in itertools.permutations(range(3))
    }
    for f in fused:
        named = ["abc"[i] for i in f.step_modality[1:]]
        assert torch.equal(f.vector, fusion(sample.tokens, sample.present, order=named).vector)
    fusion.eval()
    assert fusion(sample.tokens, sample.present).step_modality.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (["a", "b"], ConfigError),
        (["a", "b", "b"], ConfigError),
        (["a", "b", "z"], UnknownModalityError),
        (torch.tensor([[0, 1, 1]] * 8), ConfigError),
        (torch.tensor([[0, 1, 2]]), ConfigError),
    ],
)
def test_an_order_that_is_no_permutation_is_refused(order, error, sample):
    with pytest.raises(error):
        SequentialFusion(sample.dims).double()(sample.tokens, sample.present, order=order)


def test_an_unknown_training_order_is_refused():
    with pytest.raises(ConfigError, match="order is 'sorted'"):
        SequentialFusion({"a": 2}, order="sorted")


def test_a_modality_that_the_fusion_does_not_know_is_refused():
    with pytest.raises(UnknownModalityError, match=r"\['z'\].*built for \['a'\]"):
        SequentialFusion({"a": 2})({"z": Tokens.of(torch.zeros(1, 2))}, torch.ones(1, 1).bool())
