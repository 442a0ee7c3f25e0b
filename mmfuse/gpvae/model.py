"""MMGPVAE: series of several modalities from shared and private Gaussian processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.checkpoint import read, under
from mmfuse.errors import CheckpointError, ConfigError, DataError, UnknownModalityError
from mmfuse.gpvae.fourier import FourierBasis
from mmfuse.gpvae.readouts import Readout, readout
from mmfuse.gpvae.series import Series, SeriesEncoder
from mmfuse.spec import DataSpec

#: White noise in the prior of every latent, against a variance of 1.
JITTER = 1e-3


@dataclass(frozen=True, slots=True)
class Latents:
    """What is known of the latents of a batch: a Gaussian a latent and Fourier coefficient.

    Args:
        mean: ``(B, L, F)``.
        variance: ``(B, L, F)``.
        basis: turns coefficients into series.
    """

    mean: Tensor
    variance: Tensor
    basis: FourierBasis

    @property
    def over_time(self) -> Tensor:
        """The mean at each step, ``(B, T, L)``."""
        found: Tensor = self.basis(self.mean).transpose(1, 2)
        return found

    @property
    def variance_over_time(self) -> Tensor:
        """The variance at each step, ``(B, T, L)``."""
        return self.basis.spread(self.variance).transpose(1, 2)

    def draw(self) -> Tensor:
        """One sample over time, ``(B, T, L)``."""
        coefficients = self.mean + torch.randn_like(self.mean) * self.variance.sqrt()
        found: Tensor = self.basis(coefficients).transpose(1, 2)
        return found


class MMGPVAE(nn.Module):
    """A variational autoencoder of several series whose latents are Gaussian processes.

    Latents z_1..z_L over time have the prior of ``FourierBasis``, each with a length scale of its
    own. The first ``shared`` of them every modality is read from, and then each modality's
    private ones by it alone. Of the modalities P that a row has, each gives a Gaussian factor a
    coefficient of its latents, and the posterior is their product with the prior::

        1 / v = 1 / k + sum_{m in P} 1 / s_m^2,   mu = v sum_{m in P} mu_m / s_m^2
        ELBO  = sum_{m in P} E_q[log p(x_m | z)] - sum KL( N(mu, v) || N(0, k) )
        KL    = ( (mu^2 + v) / k - 1 + log k - log v ) / 2

    An absent modality drops out of both: the shared latents are told by the others, its private
    ones are the prior's, and nothing present gives the prior of all. What the values of an absent
    modality may have been is ``reconstruct(infer(batch))``.

    Args:
        spec: the modalities, series of one length T.
        series: how each modality is seen; one that is not named is ``Series()``.
        shared: latents of all modalities.
        length_scale: where every latent's length scale starts, in steps; T / 4 by default.
        shortest: the shortest length scale, in steps; T / 8 by default.

    Shape:
        series (B, T, N_m) -> latents (B, L, F)

    Raises:
        ConfigError: no latents, length scales that do not fit, or a modality that is no series or
            of another length.
        UnknownModalityError: ``series`` names a modality that ``spec`` does not.

    Reference: Gondur et al., "Multi-modal Gaussian Process Variational Autoencoders for Neural and
        Behavioral Data", ICLR 2024, arXiv:2310.03111.

    Departs from the authors' code: any number of modalities, absent ones too; factors are
    multiplied with the prior, where theirs averages means and log-deviations of two encoders;
    each latent has a length scale, kept above the shortest; the KL is an expectation, where
    theirs is evaluated at one deviation above the mean; a deviation is not taken for a variance;
    variances cannot turn negative; an encoder's map along time starts as GP regression.

    Example:
        >>> from mmfuse import ModalitySpec
        >>> spec = DataSpec({m: ModalitySpec.of((20, 3)) for m in "ab"})
        >>> model = MMGPVAE(spec, {"a": Series("poisson")})
        >>> inputs = {m: torch.ones(2, 20, 3) for m in "ab"}
        >>> batch = Batch(("a", "b"), inputs, torch.tensor([[True, True], [False, True]]))
        >>> latents = model.infer(batch)
        >>> latents.over_time.shape, model.reconstruct(latents)["a"].shape
        (torch.Size([2, 20, 3]), torch.Size([2, 20, 3]))
    """

    def __init__(
        self,
        spec: DataSpec,
        series: Mapping[str, Series] | None = None,
        shared: int = 1,
        length_scale: float | None = None,
        shortest: float | None = None,
    ) -> None:
        super().__init__()
        given = dict(series or {})
        if unknown := [m for m in given if m not in spec.modalities]:
            raise UnknownModalityError(
                f"series names {unknown}; the data have {list(spec.modalities)}. Check the "
                "spelling."
            )
        self.spec = spec
        self.modalities = tuple(spec.modalities)
        self.series = {m: given.get(m, Series()) for m in self.modalities}
        self.shared = shared
        steps = _steps(spec)
        shortest = steps / 8 if shortest is None else shortest
        self.basis = FourierBasis(steps, shortest)
        start = max(steps / 4, 2 * shortest) if length_scale is None else length_scale
        if not shortest < start < math.inf:
            raise ConfigError(
                f"MMGPVAE: length_scale is {start}, the shortest {shortest}; expected a length "
                "scale above the shortest."
            )
        self._given = {"shared": shared, "length_scale": start, "shortest": shortest}
        self.latents = shared + sum(s.private for s in self.series.values())
        if shared < 0 or any(shared + s.private < 1 for s in self.series.values()):
            raise ConfigError(
                f"MMGPVAE: shared is {shared}, private "
                f"{ {m: s.private for m, s in self.series.items()} }. Give every modality a latent."
            )
        # softplus(raw) = start - shortest.
        raw = start - shortest + math.log(-math.expm1(shortest - start))
        self.raw_length = nn.Parameter(torch.full((self.latents,), raw))
        self.encoders, self.readouts = nn.ModuleDict(), nn.ModuleDict()
        for m, one in self.series.items():
            own = shared + one.private
            of = spec.modalities[m]
            self.encoders[m] = SeriesEncoder(of.width, one.encoder, own, self.basis, start)
            self.readouts[m] = readout(one, own, of)

    @property
    def length_scales(self) -> Tensor:
        """Each latent's length scale in steps, ``(L,)``."""
        return self.basis.shortest + F.softplus(self.raw_length)

    @property
    def prior(self) -> Tensor:
        """The prior variance of each latent's coefficients, ``(L, F)``."""
        return self.basis.variances(self.length_scales, JITTER)

    @property
    def names(self) -> list[str]:
        """What each latent is called: ``shared_0`` and so on, then ``<modality>_0``."""
        private = [f"{m}_{i}" for m, s in self.series.items() for i in range(s.private)]
        return [*(f"shared_{i}" for i in range(self.shared)), *private]

    def columns(self, modality: str) -> Tensor:
        """Which latents a modality is read from: the shared ones, then its own."""
        before = self.shared
        for m, one in self.series.items():
            if m == modality:
                own = range(before, before + one.private)
                return torch.tensor([*range(self.shared), *own], device=self.raw_length.device)
            before += one.private
        raise UnknownModalityError(
            f"There is no modality {modality!r}; the model knows {list(self.modalities)}."
        )

    def infer(self, batch: Batch) -> Latents:
        """The posterior of the latents, given what each row has; the prior where it has nothing.

        Raises:
            UnknownModalityError: the batch has a modality that the model does not know.
        """
        if unknown := set(batch.modalities) - set(self.modalities):
            raise UnknownModalityError(
                f"The batch has {sorted(unknown)}; the model knows {list(self.modalities)}."
            )
        prior = self.prior
        precision = prior.reciprocal().expand(len(batch), -1, -1)
        weighted = torch.zeros_like(precision)
        for m in batch.modalities:
            rows = batch.present_rows[m]
            if m not in batch.inputs or not len(rows):
                continue
            means, deviations = self.encoders[m](self._readout(m).inputs(_of(batch, m)))
            place = rows.unsqueeze(1), self.columns(m).unsqueeze(0)
            factor = deviations.square().reciprocal()
            precision = precision.index_put(place, factor, accumulate=True)
            weighted = weighted.index_put(place, factor * means, accumulate=True)
        return Latents(weighted / precision, precision.reciprocal(), self.basis)

    forward = infer

    def reconstruct(self, latents: Latents) -> dict[str, Tensor]:
        """The expected series of every modality, of absent ones too, in the data's units.

        Of counts the expectation under the posterior; of values what the decoder makes of the
        latents' mean.

        Shape:
            -> {m: (B, T, N_m)}
        """
        mean, variance = latents.over_time, latents.variance_over_time
        return {
            m: self._readout(m)(mean[..., self.columns(m)], variance[..., self.columns(m)])
            for m in self.modalities
        }

    def elbo(self, batch: Batch, latents: Latents | None = None) -> dict[str, Tensor]:
        """The terms of the evidence lower bound of each row, in nats.

        Args:
            batch: the rows.
            latents: their posterior, if it is at hand.

        Returns:
            ``kl``, and each modality's log-likelihood by its name; ``(B,)`` each, zero where a row
            lacks the modality. The bound is the sum of the latter less ``kl``.
        """
        latents = self.infer(batch) if latents is None else latents
        mean, variance, drawn = latents.over_time, latents.variance_over_time, latents.draw()
        found = {"kl": kl(latents.mean, latents.variance, self.prior).sum(dim=(1, 2))}
        for m in batch.modalities:
            rows = batch.present_rows[m]
            value = mean.new_zeros(len(batch))
            if m in batch.inputs and len(rows):
                own = (x[rows][..., self.columns(m)] for x in (mean, variance, drawn))
                of_rows = self._readout(m).log_likelihood(_of(batch, m), *own)
                value = value.index_copy(0, rows, of_rows)
            found[m] = value
        return found

    def _readout(self, modality: str) -> Readout:
        return cast(Readout, self.readouts[modality])

    def describe(self) -> dict[str, Any]:
        """How to build this model again, in plain data; weights are not part of it."""
        series = {m: asdict(s) for m, s in self.series.items()}
        for one in series.values():
            one |= {"encoder": list(one["encoder"]), "decoder": list(one["decoder"])}
        return {"spec": self.spec.to_dict(), "series": series, **self._given}

    @classmethod
    def rebuild(cls, description: Mapping[str, Any]) -> MMGPVAE:
        """The inverse of ``describe``, with fresh weights."""
        given = dict(description)
        spec = DataSpec.from_dict(given.pop("spec"))
        series = {m: Series(**s) for m, s in given.pop("series").items()}
        return cls(spec, series, **given)

    @classmethod
    def load(cls, path: str | Path) -> MMGPVAE:
        """A ready model in eval mode from the checkpoint of a ``GPVAETask``.

        Raises:
            MissingFileError: there is no such file.
            CheckpointError: it is corrupt, of another kind of model, or its weights do not fit.
        """
        content = read(path)
        if "gpvae" not in content["mmfuse"]:
            raise CheckpointError(
                f"{path} holds no GPVAE; mmfuse.load reads models that fuse. Give a checkpoint of "
                "a GPVAETask."
            )
        model = cls.rebuild(content["mmfuse"]["gpvae"])
        try:
            model.load_state_dict(under("model.", content["state_dict"]))
        except RuntimeError as error:
            raise CheckpointError(f"{path}: the weights do not fit the model: {error}") from error
        return model.eval()


def kl(mean: Tensor, variance: Tensor, prior: Tensor) -> Tensor:
    """KL( N(mean, variance) || N(0, prior) ), element by element."""
    return 0.5 * ((mean.square() + variance) / prior - 1 + prior.log() - variance.log())


def _steps(spec: DataSpec) -> int:
    """The length that all series have."""
    shapes = {m: s.shape for m, s in spec.modalities.items()}
    kinds = {m: s.kind for m, s in spec.modalities.items()}
    lengths = {shape[0] for shape in shapes.values() if len(shape) == 2}
    if set(kinds.values()) != {"series"} or len(lengths) != 1 or None in lengths:
        raise ConfigError(
            f"MMGPVAE takes series of one length; the data are {kinds} of the shapes {shapes}. Cut "
            "or fill them to one length, or declare them as series."
        )
    (found,) = lengths
    assert found is not None
    return found


def _of(batch: Batch, modality: str) -> Tensor:
    """The rows that have the modality."""
    x = batch.inputs[modality]
    if not isinstance(x, Tensor):
        raise DataError(f"Modality {modality!r}: series of unequal lengths. Cut them to one.")
    rows = batch.present_rows[modality]
    return x if len(rows) == len(batch) else x.index_select(0, rows)


def require_counts(modality: str, x: Tensor) -> None:
    """Checks that values are counts.

    Raises:
        DataError: one is negative or no whole number.
    """
    if bool((x < 0).any()) or bool((x != x.round()).any()):
        raise DataError(
            f"Modality {modality!r}: its likelihood is poisson, and it holds values that are no "
            "counts. Give whole numbers of 0 or more, or take gaussian."
        )
