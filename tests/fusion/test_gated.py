import torch

from mmfuse.fusion import GatedFusion


def test_gates_that_read_all_weigh_each_present_modality(sample, agrees):
    fusion = GatedFusion(sample.dims, out_dim=6)

    def equation(row):
        zeros = {m: torch.zeros(d, dtype=torch.float64) for m, d in sample.dims.items()}
        x = zeros | {m: v.mean(dim=0) for m, v in row.items()}
        everything = torch.cat([x[m] for m in sample.dims])
        gates = (fusion.gate.weight @ everything + fusion.gate.bias).sigmoid().view(3, 6)
        return sum(
            gates[i] * fusion.project[m](x[m]).tanh() for i, m in enumerate(sample.dims) if m in row
        )

    agrees(fusion, equation)


def test_an_open_gate_lets_the_modality_through_and_a_closed_one_does_not(sample):
    fusion = GatedFusion(sample.dims, out_dim=6).double()
    with torch.no_grad():
        fusion.gate.weight.zero_()
        fusion.gate.bias.copy_(torch.tensor([50.0, -50.0, -50.0]).repeat_interleave(6))
    fused = fusion(sample.tokens, sample.present)
    expected = fusion.project["a"](sample.row(7)["a"][0]).tanh()
    torch.testing.assert_close(fused.vector[7], expected)
    torch.testing.assert_close(fused.weights[7], torch.tensor([1.0, 0.0, 0.0]).double())


def test_absent_modalities_weigh_nothing(sample):
    weights = GatedFusion(sample.dims).double()(sample.tokens, sample.present).weights
    assert (weights[~sample.present] == 0).all()
    assert (weights[sample.present] > 0).all()
