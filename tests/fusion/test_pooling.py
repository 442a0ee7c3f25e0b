from dataclasses import replace

import pytest
import torch

from mmfuse.fusion import MaxFusion, MeanFusion, SumFusion

REDUCE = {
    SumFusion: lambda stack: stack.sum(dim=0),
    MeanFusion: lambda stack: stack.mean(dim=0),
    MaxFusion: lambda stack: stack.amax(dim=0),
}


@pytest.mark.parametrize("cls", REDUCE)
def test_pooling_reduces_the_projections_of_the_present(cls, sample, agrees):
    fusion = cls(sample.dims, out_dim=6)

    def equation(row):
        return REDUCE[cls](torch.stack([fusion.project[m](x.mean(dim=0)) for m, x in row.items()]))

    agrees(fusion, equation)


@pytest.mark.parametrize("cls", REDUCE)
def test_pooling_does_not_depend_on_the_order_of_the_modalities(cls, sample, shake):
    fusion = shake(cls(sample.dims, out_dim=6))
    backwards = cls(dict(reversed(sample.dims.items())), out_dim=6).double()
    backwards.load_state_dict(fusion.state_dict())
    torch.testing.assert_close(
        backwards(sample.tokens, sample.present.flip(1)).vector,
        fusion(sample.tokens, sample.present).vector,
    )


@pytest.mark.parametrize("cls", REDUCE)
def test_without_projections_tokens_join_as_they_are(cls, sample):
    dims = dict.fromkeys(sample.dims, 6)
    maps = {m: torch.randn(d, 6, dtype=torch.float64) for m, d in sample.dims.items()}
    tokens = {m: replace(t, values=t.values @ maps[m]) for m, t in sample.tokens.items()}
    fusion = cls(dims, out_dim=6, project=False).double()
    assert not [name for name, _ in fusion.named_parameters() if name.startswith("project")]

    found = fusion(tokens, sample.present).vector
    for row in sample.present.any(dim=1).nonzero().flatten().tolist():
        own = [
            t.pooled()[row]
            for t, is_there in zip(tokens.values(), sample.present[row], strict=True)
            if is_there
        ]
        torch.testing.assert_close(found[row], REDUCE[cls](torch.stack(own)))


def test_without_projections_other_widths_still_get_one():
    fusion = MeanFusion({"a": 4, "b": 5}, out_dim=4, project=False)
    assert {name for name, _ in fusion.named_parameters()} >= {"project.b.weight"}
    assert "project.a.weight" not in dict(fusion.named_parameters())


@pytest.mark.parametrize("cls", [MeanFusion, MaxFusion])
def test_weights_are_shares_of_the_present(cls, sample, shake):
    weights = shake(cls(sample.dims, out_dim=6))(sample.tokens, sample.present).weights
    assert (weights[~sample.present] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), sample.present.any(dim=1).double())


def test_max_weights_count_the_coordinates_each_modality_won():
    fusion = MaxFusion({"a": 4, "b": 4}, out_dim=4).double()
    stack = torch.tensor([[[1.0, 1.0, 1.0, -1.0], [0.0, 0.0, 0.0, -2.0]]]).double()
    both, second = torch.tensor([[True, True]]), torch.tensor([[False, True]])
    assert fusion.reduce(stack, both).weights.tolist() == [[1.0, 0.0]]
    assert fusion.reduce(stack, second).vector.tolist() == [[0.0, 0.0, 0.0, -2.0]]
