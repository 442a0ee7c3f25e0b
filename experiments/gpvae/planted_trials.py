"""Series with planted latents: counts and values of one shared and two private processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Length scales in steps: of the shared latent, and of those private to counts and to values.
SCALES = {"shared": 10.0, "spikes": 8.0, "signal": 12.0}
STEPS, TRIALS, NEURONS, CHANNELS = 60, 300, 40, 30
#: A neuron's mean rate a step at latents of zero, and the deviation of the values' noise.
RATE, NOISE = 1.0, 0.3


@dataclass(frozen=True)
class Planted:
    """Trials and what they were made of.

    Args:
        latents: ``(trials, steps)`` each, by name.
        spikes: ``(trials, steps, neurons)``.
        signal: ``(trials, steps, channels)``.
        expected: of each modality, what is to be expected of it given the shared latent alone:
            no model that sees the other modality can do better.
    """

    latents: dict[str, np.ndarray]
    spikes: np.ndarray
    signal: np.ndarray
    expected: dict[str, np.ndarray]


def planted(seed: int) -> Planted:
    """Draws everything, weights too."""
    draw = np.random.default_rng(seed)
    time = np.arange(STEPS)
    latents = {}
    for name, scale in SCALES.items():
        covariance = np.exp(-((time[:, None] - time) ** 2) / (2 * scale**2))
        root = np.linalg.cholesky(covariance + 1e-6 * np.eye(STEPS))
        latents[name] = draw.normal(size=(TRIALS, STEPS)) @ root.T
    shared = latents["shared"][..., None]

    weight = draw.normal(size=(2, NEURONS)) * 0.6
    rate = RATE * np.exp(shared * weight[0] + latents["spikes"][..., None] * weight[1])
    counts = draw.poisson(rate)

    # A layer of tanh units, so that no linear map undoes it.
    mix, shift = draw.normal(size=(2, 50)), draw.normal(size=50)
    out = draw.normal(size=(50, CHANNELS)) / np.sqrt(50)

    def values_of(own: np.ndarray) -> np.ndarray:
        return np.tanh(shared * mix[0] + own[..., None] * mix[1] + shift) @ out

    values = values_of(latents["signal"])
    values = values + NOISE * draw.normal(size=values.shape)
    # Over what the private latent may be at a step: a standard normal.
    points, weights = np.polynomial.hermite_e.hermegauss(9)
    mean = sum(
        w * values_of(np.full((TRIALS, STEPS), x))
        for x, w in zip(points, weights / weights.sum(), strict=True)
    )
    expected = {
        "spikes": RATE * np.exp(shared * weight[0] + weight[1] ** 2 / 2),
        "signal": mean,
    }
    return Planted(latents, counts, values, expected)
