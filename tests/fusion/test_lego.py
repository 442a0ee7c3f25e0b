import math

import pytest
import torch
import torch.nn.functional as F
from fusion_equations import norm

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import LegoBlock, LegoMergeFusion, LegoStackFusion, LegoWeaveFusion
from mmfuse.fusion.lego.spectrum import RULES, Spectrum, harmonic, token_spectrum
from mmfuse.tokens import Tokens

SMALL = {"out_dim": 6, "latents": 5, "heads": 2, "head_dim": 3, "hidden": 7}
KINDS = pytest.mark.parametrize("cls", [LegoMergeFusion, LegoStackFusion, LegoWeaveFusion])


def attention(query, keys, layer):
    """One head after another: ``query`` (C, D) reads ``keys`` (T, d)."""
    q, kv = query @ layer.query.weight.T, keys @ layer.key_value.weight.T
    k, v = kv.chunk(2, dim=1)
    size = q.shape[1] // layer.heads
    heads = []
    for start in range(0, q.shape[1], size):
        part = slice(start, start + size)
        heads.append((q[:, part] @ k[:, part].T / math.sqrt(size)).softmax(dim=1) @ v[:, part])
    return layer.out(torch.cat(heads, dim=1))


def layer_by_paper(latent, x, layer):
    """One layer as the paper has it: there and back again. Latents (C, D) may be complex."""
    latent = latent / latent.abs().square().sum(dim=0, keepdim=True).sqrt()
    z = torch.fft.fft(latent, dim=0)
    read = torch.fft.fft(x, dim=0).real
    real = z.real + attention(norm(z.real, layer.norm), norm(read, layer.norm_context), layer)
    hidden = F.selu(layer.snn[1](norm(real, layer.snn[0])))
    real = real + layer.snn[4](hidden)
    return torch.fft.ifft(torch.complex(real, z.imag), dim=0)


def merged_by_paper(latents, rule, weights):
    z = [torch.fft.fft(latent, dim=0) for latent in latents]
    if rule == "product":
        return torch.stack(z).prod(dim=0)
    if rule == "sum":
        return sum(a * each for a, each in zip(weights, z, strict=True))
    if rule == "mean":
        return sum(a * each for a, each in zip(weights, z, strict=True)) / sum(weights)
    size = sum(weights) / sum(a / each.abs() for a, each in zip(weights, z, strict=True))
    phasors = sum(a * each / each.abs() for a, each in zip(weights, z, strict=True))
    # Frequency 0 has the phases 0 and pi alone; where they cancel nothing is left.
    phase = torch.where(phasors.abs() < 1e-4, 0, phasors / phasors.abs())
    return size * phase


@pytest.mark.parametrize("rule", RULES)
def test_a_merge_equals_its_equation_on_the_present_modalities(rule, sample, agrees):
    weights = None if rule == "product" else {"a": 1.0, "b": 2.5, "c": 0.5}
    fusion = LegoMergeFusion(sample.dims, rule, weights, **SMALL)

    def equation(row):
        latents = []
        for m, x in row.items():
            latent = fusion.latent[list(sample.dims).index(m)]
            for layer in fusion.blocks[m].layers:
                latent = layer_by_paper(latent, x, layer)
            latents.append(latent)
        z = merged_by_paper(latents, rule, [(weights or {}).get(m, 1.0) for m in row])
        return norm(z.real.mean(dim=0), fusion.norm)

    agrees(fusion, equation)


def read_by_paper(latent, fusion):
    return norm(torch.fft.fft(latent, dim=0).real.mean(dim=0), fusion.norm)


def test_a_stack_passes_the_latent_from_block_to_block(sample, agrees):
    fusion = LegoStackFusion(sample.dims, layers=3, **SMALL)

    def equation(row):
        latent = fusion.latent[0]
        for m, x in row.items():
            for layer in fusion.blocks[m].layers:
                latent = layer_by_paper(latent, x, layer)
        return read_by_paper(latent, fusion)

    agrees(fusion, equation)


def test_a_weave_passes_the_latent_from_layer_to_layer(sample, agrees):
    fusion = LegoWeaveFusion(sample.dims, layers=3, **SMALL)

    def equation(row):
        latent = fusion.latent[0]
        for k in range(3):
            for m, x in row.items():
                latent = layer_by_paper(latent, x, fusion.blocks[m].layers[k])
        return read_by_paper(latent, fusion)

    agrees(fusion, equation)


def test_with_one_modality_every_kind_and_every_rule_is_the_block(sample, shake):
    first = shake(LegoStackFusion({"b": 3}, **SMALL))
    others = [
        LegoWeaveFusion({"b": 3}, **SMALL),
        *(LegoMergeFusion({"b": 3}, rule, **SMALL) for rule in RULES),
    ]
    tokens, present = {"b": sample.tokens["b"]}, sample.present[:, 1:2]
    expected = first(tokens, present).vector
    for fusion in others:
        fusion.double().load_state_dict(first.state_dict())
        torch.testing.assert_close(fusion(tokens, present).vector, expected)


@pytest.mark.parametrize("rule", RULES)
def test_a_merge_does_not_depend_on_the_order_of_its_blocks(rule, sample, shake):
    fusion = shake(LegoMergeFusion(sample.dims, rule, **SMALL))
    turned = LegoMergeFusion(dict(reversed(sample.dims.items())), rule, **SMALL).double()
    state = fusion.state_dict()
    turned.load_state_dict(state | {"latent": state["latent"].flip(0)})
    torch.testing.assert_close(
        turned(sample.tokens, sample.present.flip(1)).vector,
        fusion(sample.tokens, sample.present).vector,
    )


def spectra(*values):
    """One row, as many blocks as values; each is a list of complex numbers."""
    z = torch.tensor([[[v] for v in block] for block in values], dtype=torch.complex128)
    return Spectrum(z.real[None], z.imag[None])


def as_complex(z):
    return torch.complex(z.real, z.imag).flatten()


def test_phases_beside_pi_average_to_pi_and_not_to_nothing():
    angle = math.pi - 0.1
    ones = [complex(math.cos(a), math.sin(a)) for a in (angle, -angle)]
    found = as_complex(harmonic(spectra([ones[0]], [ones[1]]), torch.ones(1, 2).double()))
    torch.testing.assert_close(found, torch.tensor([-1 + 0j], dtype=torch.complex128))


def test_the_harmonic_mean_of_equals_is_their_value():
    z = spectra(*[[3 + 4j, -2j, -0.5]] * 3)
    found = as_complex(harmonic(z, torch.tensor([[0.5, 2.0, 7.0]]).double()))
    torch.testing.assert_close(found, torch.tensor([3 + 4j, -2j, -0.5]).to(torch.complex128))


@pytest.mark.parametrize("alpha", [0.5, 0.8, 0.1])
def test_two_blocks_have_the_magnitude_of_the_original_without_its_factor(alpha):
    draw = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 6, 2, dtype=torch.float64, generator=draw).exp().unbind()
    z = Spectrum(torch.stack([one, two])[None], torch.zeros(1, 2, 6, 2).double())
    original = 2 * alpha * (1 - alpha) * one * two / (alpha * two + (1 - alpha) * one)
    found = harmonic(z, torch.tensor([[alpha, 1 - alpha]]).double()).real[0]
    torch.testing.assert_close(found, original / (2 * alpha * (1 - alpha)))


def test_two_equal_weights_have_the_mean_of_the_phases_where_that_does_not_wrap():
    one, two = 0.3 + 1.1j, -0.7 + 0.2j
    found = as_complex(harmonic(spectra([one], [two]), torch.ones(1, 2).double()))
    mean = (torch.tensor([one, two]).angle().sum() / 2).double()
    torch.testing.assert_close(found.angle(), mean[None], rtol=0, atol=1e-6)


def test_phasors_that_cancel_leave_nothing_and_a_finite_gradient():
    real = torch.tensor([2.0, -3.0]).double().view(1, 2, 1, 1).requires_grad_()
    imag = torch.zeros_like(real, requires_grad=True)
    found = harmonic(Spectrum(real, imag), torch.ones(1, 2).double())
    assert found.real.abs().max() < 1e-9
    (found.real + found.imag).sum().backward()
    assert real.grad.isfinite().all()
    assert imag.grad.isfinite().all()


@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_of_a_rule_is_the_numerical_one(rule):
    draw = torch.Generator().manual_seed(0)
    parts = torch.randn(2, 3, 4, 2, 2, dtype=torch.float64, generator=draw).requires_grad_()
    weights = torch.tensor([[1.0, 2, 0.5, 3], [0, 1, 0, 2], [0, 0, 1, 0]]).double()
    torch.autograd.gradcheck(lambda p: tuple(RULES[rule](Spectrum(p[0], p[1]), weights)), parts)


def test_a_zero_latent_pulls_the_harmonic_mean_to_zero():
    found = harmonic(spectra([0j], [5 + 1j]), torch.ones(1, 2).double())
    assert as_complex(found).abs().max() < 1e-9


def test_tokens_are_transformed_at_the_length_of_their_own_row():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(4, 7, 3, dtype=torch.float64, generator=draw)
    mask = torch.tensor(
        [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0, 1], [0] * 7]
    ).bool()
    found = token_spectrum(values.masked_fill(~mask[..., None], 0), mask)
    for i in range(4):
        expected = torch.zeros(7, 3).double()
        if mask[i].any():
            expected[mask[i]] = torch.fft.fft(values[i][mask[i]], dim=0).real
        torch.testing.assert_close(found[i], expected)


@KINDS
def test_a_block_whose_modality_is_absent_leaves_the_row_as_without_it(cls, sample, shake):
    fusion = shake(cls({"a": 5, "b": 3}, **SMALL))
    alone = shake(LegoStackFusion({"a": 5}, **SMALL))
    state = fusion.state_dict()
    own = {k: v for k, v in state.items() if not k.startswith("blocks.b.")}
    alone.load_state_dict(own | {"latent": state["latent"][:1]})
    tokens = {m: sample.tokens[m] for m in "ab"}
    only_a = torch.tensor([[True, False]] * 8)
    here = sample.tokens["a"].values.isfinite().all(dim=2)[:, 0]
    torch.testing.assert_close(
        fusion(tokens, only_a).vector[here],
        alone({"a": tokens["a"]}, only_a[:, :1]).vector[here],
    )


def test_the_weights_told_are_the_shares_of_those_present(sample):
    fusion = LegoMergeFusion(sample.dims, weights={"a": 1, "b": 2, "c": 1}, **SMALL).double()
    found = fusion(sample.tokens, sample.present).weights
    for row, present in zip(found, sample.present, strict=True):
        given = torch.tensor([1.0, 2, 1]).double() * present
        torch.testing.assert_close(row, given / given.sum().clamp(min=1))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rule": "median"}, ConfigError, "rule is 'median'; expected one of harmonic"),
        ({"weights": {"a": 1.0}}, UnknownModalityError, r"given for \['a'\].*\['a', 'b'\]"),
        ({"weights": {"a": 1.0, "b": 0.0}}, ConfigError, "expected numbers above 0"),
        ({"rule": "product", "weights": {"a": 1.0, "b": 1.0}}, ConfigError, "no weights"),
        ({"latents": 0}, ConfigError, "latents is 0"),
        ({"heads": 0}, ConfigError, "heads=0"),
    ],
)
def test_what_cannot_be_built_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        LegoMergeFusion({"a": 2, "b": 2}, **options)


def test_a_block_serves_latents_from_outside_and_keeps_its_own_weights(sample):
    block = LegoBlock(4, width=6).double()
    before = {k: v.clone() for k, v in block.state_dict().items()}
    tokens = Tokens.of(torch.randn(3, 4).double())
    z = Spectrum(torch.randn(3, 5, 6).double(), torch.randn(3, 5, 6).double())
    assert block(z, tokens).real.shape == (3, 5, 6)
    assert all(torch.equal(v, before[k]) for k, v in block.state_dict().items())
