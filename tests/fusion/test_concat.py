import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion
from mmfuse.tokens import Tokens


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("fill", ["zero", "mean", "learned"])
def test_an_absent_slot_holds_its_filling(fill, flag, sample, agrees):
    fusion = ConcatFusion(sample.dims, out_dim=6, hidden=5, fill=fill, flag=flag)
    fusion.double()(sample.tokens, sample.present)  # lets the running mean see the data

    def filling(m):
        zeros = torch.zeros(sample.dims[m]).double()
        return zeros if fill == "zero" else getattr(fusion, f"absent_{m}")

    def equation(row):
        parts = [row[m].mean(dim=0) if m in row else filling(m) for m in sample.dims]
        if flag:
            parts.append(torch.tensor([float(m in row) for m in sample.dims]).double())
        return fusion.mix(torch.cat(parts))

    agrees(fusion, equation)


def test_no_hidden_layer_makes_the_mix_linear():
    assert isinstance(ConcatFusion({"a": 2}, hidden=0).mix, torch.nn.Linear)


def test_the_running_mean_follows_the_present_rows_only(sample):
    fusion = ConcatFusion(sample.dims, fill="mean", momentum=0.25).double()

    def mean_of(rows):
        encodings = [sample.row(i)["b"].mean(dim=0) for i in rows if sample.present[i, 1]]
        return sum(encodings) / len(encodings)

    def see(rows):
        some = sample.rows(torch.tensor(rows))
        fusion(some.tokens, some.present)

    see([0, 1, 4])  # no row has b: nothing to follow yet
    assert not fusion.absent_b.any()
    see([2, 3, 4])  # the first batch with b sets the mean
    torch.testing.assert_close(fusion.absent_b, mean_of([2, 3]))
    see([5, 6, 7])  # a later one moves it
    moved = 0.75 * mean_of([2, 3]) + 0.25 * mean_of([6, 7])
    torch.testing.assert_close(fusion.absent_b, moved)
    see([0, 1])
    fusion.eval()
    see([2, 3])  # neither absence nor evaluation does
    torch.testing.assert_close(fusion.absent_b, moved)


def test_the_running_mean_travels_with_the_weights(sample):
    fusion = ConcatFusion(sample.dims, fill="mean").double()
    fusion(sample.tokens, sample.present)
    copy = ConcatFusion(sample.dims, fill="mean").double().eval()
    copy.load_state_dict(fusion.state_dict())
    assert copy.absent_c.any()
    torch.testing.assert_close(
        copy(sample.tokens, sample.present).vector,
        fusion.eval()(sample.tokens, sample.present).vector,
    )


def test_a_learned_filling_learns_from_the_rows_that_need_it(sample):
    fusion = ConcatFusion(sample.dims, fill="learned").double()
    some = sample.rows(torch.tensor([1, 4, 5]))  # b is absent, a and c are not always
    fusion(some.tokens, some.present).vector.sum().backward()
    assert fusion.absent_b.grad.any()
    full = sample.rows(torch.tensor([7]))
    fusion.zero_grad()
    fusion(full.tokens, full.present).vector.sum().backward()
    assert not fusion.absent_b.grad.any()


def test_the_flag_tells_an_absent_modality_from_one_that_is_zero():
    tokens = {"a": Tokens.of(torch.ones(1, 2)), "b": Tokens.of(torch.zeros(1, 2))}
    both, alone = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    for flag in (False, True):
        fusion = ConcatFusion({"a": 2, "b": 2}, flag=flag, hidden=0)
        same = torch.equal(fusion(tokens, both).vector, fusion(tokens, alone).vector)
        assert same is not flag


def test_an_unknown_filling_is_refused():
    with pytest.raises(ConfigError, match="fill is 'median'"):
        ConcatFusion({"a": 2}, fill="median")
