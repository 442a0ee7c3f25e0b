"""The model: its bound against sampling, its posterior as a product, its promises of absence."""

import math

import pytest
import torch
from torch.distributions import Normal, Poisson, kl_divergence

from mmfuse import Batch, DataSpec, ModalitySpec
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.gpvae import MMGPVAE, Series
from mmfuse.gpvae.model import kl, require_counts
from mmfuse.gpvae.readouts import GaussianReadout, PoissonReadout


def test_kl_is_that_of_torch_and_of_the_issue():
    mean, variance = torch.randn(4, 3, 5).double(), torch.rand(4, 3, 5).double() + 0.1
    prior = torch.rand(3, 5).double() + 0.1
    wanted = kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, prior.sqrt().expand(4, 3, 5)))
    assert torch.allclose(kl(mean, variance, prior), wanted)
    # mu 1, s 0.5, k 1: half of 1.25 - 1 - log 0.25, where the authors' code has 2.25.
    one = kl(torch.tensor(1.0), torch.tensor(0.25), torch.tensor(1.0))
    assert one.item() == pytest.approx(0.5 * (1.25 - 1 - math.log(0.25)))


def test_the_poisson_expectation_is_what_sampling_gives():
    torch.manual_seed(0)
    readout = PoissonReadout(
        2, ModalitySpec("series", (5, 3), mean=(1.0, 2.0, 0.5), std=(1.0,) * 3)
    )
    torch.nn.init.normal_(readout.log_rates.weight, std=0.5)
    mean, variance = torch.randn(2, 5, 2), torch.rand(2, 5, 2) * 0.5
    y = torch.randint(0, 6, (2, 5, 3)).float()
    with torch.no_grad():
        drawn = mean + variance.sqrt() * torch.randn(40000, 2, 5, 2)
        rates = readout.log_rates(drawn).exp()
        sampled = Poisson(rates).log_prob(y).sum(dim=(2, 3)).mean(dim=0)
        found = readout.log_likelihood(y, mean, variance, mean)
        assert torch.allclose(found, sampled, atol=0.1)
        assert torch.allclose(readout(mean, variance), rates.mean(dim=0), rtol=0.05)


def test_the_gaussian_density_is_torchs():
    torch.manual_seed(0)
    spec = ModalitySpec("series", (5, 3), mean=(1.0, 2.0, 0.5), std=(2.0, 1.0, 0.5))
    readout = GaussianReadout(2, (4,), spec)
    torch.nn.init.normal_(readout.log_variance)
    x, z = torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    density = Normal(readout.decoder(z), readout.log_variance.mul(0.5).exp())
    wanted = density.log_prob((x - readout.mean) / readout.std).sum(dim=(1, 2))
    assert torch.allclose(readout.log_likelihood(x, z, z, z), wanted, atol=1e-4)
    assert torch.allclose(readout(z, z), readout.decoder(z) * readout.std + readout.mean)


def test_the_posterior_is_the_product_of_the_prior_and_each_present_factor(model, batch):
    found, prior = model.infer(batch), model.prior
    for row, present in enumerate(batch.present.tolist()):
        one = batch.rows(torch.tensor([row]))
        for latent in range(model.latents):
            precision, weighted = prior[latent].reciprocal(), 0.0
            for m, here in zip(batch.modalities, present, strict=True):
                columns = model.columns(m).tolist()
                if not here or latent not in columns:
                    continue
                read = model.readouts[m].inputs(one.inputs[m])
                means, deviations = (x[0, columns.index(latent)] for x in model.encoders[m](read))
                precision = precision + deviations**-2
                weighted = weighted + means * deviations**-2
            assert torch.allclose(found.variance[row, latent], 1 / precision, rtol=1e-4)
            assert torch.allclose(found.mean[row, latent], weighted / precision, atol=1e-4)


def test_the_bound_is_the_mean_of_log_densities_of_draws(model, batch):
    """E_q[log p(x, z) - log q(z)] by sampling coefficients."""
    torch.manual_seed(0)
    one = batch.rows(torch.tensor([0, 1, 4]))
    with torch.no_grad():
        latents = model.infer(one)
        found = [model.elbo(one, latents) for _ in range(400)]
        bound = sum(sum(v for n, v in f.items() if n != "kl") - f["kl"] for f in found) / 400
        q, p = Normal(latents.mean, latents.variance.sqrt()), Normal(0.0, model.prior.sqrt())
        total = torch.zeros(3)
        for _ in range(400):
            c = q.sample()
            z = model.basis(c).transpose(1, 2)
            total += (p.log_prob(c) - q.log_prob(c)).sum(dim=(1, 2))
            for i, m in enumerate(one.modalities):
                own = z[..., model.columns(m)]
                x, readout = one.inputs[m], model.readouts[m]
                if m == "spikes":
                    dense = Poisson(readout.log_rates(own).exp()).log_prob(x)
                else:
                    spread = readout.log_variance.mul(0.5).exp()
                    dense = Normal(readout.decoder(own), spread).log_prob(readout.inputs(x))
                total += dense.sum(dim=(1, 2)) * one.present[:, i]
    assert torch.allclose(bound, total / 400, rtol=0.03)


def test_absent_content_changes_nothing_bit_for_bit(model, batch):
    def trace(b):
        torch.manual_seed(3)
        model.zero_grad()
        terms = model.elbo(b)
        sum(v.sum() for v in terms.values()).backward()
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        latents = model.infer(b)
        return {**terms, **grads, "mean": latents.mean, **model.reconstruct(latents)}

    clean = trace(batch)
    assert all(v.isfinite().all() for v in clean.values())
    for garbage in (float("nan"), float("inf"), 1e30):
        inputs = {m: x.clone() for m, x in batch.inputs.items()}
        for i, m in enumerate(batch.modalities):
            inputs[m][~batch.present[:, i]] = garbage
        spoilt = trace(Batch(batch.modalities, inputs, batch.present))
        assert all(torch.equal(v, spoilt[k]) for k, v in clean.items())


def test_nothing_present_is_the_prior_and_an_absent_private_block_too(model, batch):
    found, prior = model.infer(batch), model.prior
    terms = model.elbo(batch)
    assert found.mean[3].abs().max() == 0
    assert torch.allclose(found.variance[3], prior)
    assert terms["kl"][3].abs() < 1e-3
    assert all(terms[m][3] == 0 for m in batch.modalities)
    private = [i for i, n in enumerate(model.names) if n.startswith("signal_")]
    assert found.mean[1, private].abs().max() == 0
    assert torch.allclose(found.variance[1, private], prior[private])
    assert (found.variance[1, :2] < prior[:2]).all()


def test_rows_do_not_depend_on_each_other_and_more_modalities_tell_more(model, batch):
    whole = model.infer(batch)
    alone = [model.infer(batch.rows(torch.tensor([i]))) for i in range(len(batch))]
    assert torch.allclose(whole.mean, torch.cat([a.mean for a in alone]), atol=1e-5)
    less = model.infer(batch.only(["signal"]))
    assert (whole.variance[0, :2] <= less.variance[0, :2]).all()


def test_it_is_rebuilt_from_plain_data(model, batch):
    torch.manual_seed(0)
    again = MMGPVAE.rebuild(model.describe())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.infer(batch).mean, model.infer(batch).mean)
    assert again.names == model.names
    assert model.names == ["shared_0", "shared_1", "spikes_0", "signal_0", "signal_1"]


def test_length_scales_start_where_told_and_stay_above_the_shortest():
    spec = DataSpec({"a": ModalitySpec("series", (40, 2))})
    model = MMGPVAE(spec, length_scale=9.0, shortest=4.0)
    assert torch.allclose(model.length_scales, torch.tensor(9.0))
    with torch.no_grad():
        model.raw_length.fill_(-50.0)
    assert (model.length_scales >= 4.0).all()


def test_mistakes_are_told(model, batch):
    spec = DataSpec({"a": ModalitySpec("series", (40, 2)), "b": ModalitySpec("series", (30, 2))})
    with pytest.raises(ConfigError, match="series of one length"):
        MMGPVAE(spec)
    with pytest.raises(ConfigError, match="series of one length"):
        MMGPVAE(DataSpec({"a": ModalitySpec("series", (None, 2))}))
    with pytest.raises(ConfigError, match="series of one length"):
        MMGPVAE(DataSpec({"a": ModalitySpec.of(3)}))
    one = DataSpec({"a": ModalitySpec("series", (40, 2))})
    with pytest.raises(UnknownModalityError, match="'z'"):
        MMGPVAE(one, {"z": Series()})
    with pytest.raises(ConfigError, match="Give every modality a latent"):
        MMGPVAE(one, {"a": Series(private=0)}, shared=0)
    with pytest.raises(ConfigError, match="length_scale is 3"):
        MMGPVAE(one, length_scale=3.0, shortest=5.0)
    for wrong in ({"likelihood": "gamma"}, {"private": -1}):
        with pytest.raises(ConfigError, match="Series"):
            Series(**wrong)
    with pytest.raises(ConfigError, match="Leave it empty"):
        Series("poisson", decoder=(4,))
    with pytest.raises(UnknownModalityError, match="smell"):
        model.infer(Batch(("smell",), {}, torch.ones(1, 1).bool()))
    for x in (torch.tensor([-1.0]), torch.tensor([0.5])):
        with pytest.raises(DataError, match="no counts"):
            require_counts("spikes", x)
