"""ODIN: softmax at a high temperature, after a small step towards what the model believes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.robustness.ood.base import Reading, ReadingScore, class_logits
from mmfuse.robustness.ood.from_logits import doubts
from mmfuse.tokens import Tokens


class ODIN(ReadingScore):
    """Softmax at a high temperature on perturbed embeddings; higher is more out.

    **What is perturbed are the tokens that the encoders give**, of every present modality, by
    one step along the sign of a gradient that passes back through fusion and head. With r the
    root mean square of the row's tokens of that modality::

        z~ = z + epsilon r sign(d/dz log max_k softmax(f(z) / T)_k)
        1 - max_k softmax(f(z~) / T)_k

    Called on logits that are at hand it is the second line; ``inputs`` makes those of z~.

    Args:
        temperature: T.
        epsilon: length of the step, as a share of r; 0 leaves the tokens as they are.

    Shape:
        logits (n, K), of perturbed tokens -> (n,), from 0 to 1 - 1/K

    Raises:
        ConfigError: a temperature that is not above 0, or an epsilon below 0.

    Reference: Liang, Li and Srikant, "Enhancing the reliability of out-of-distribution image
        detection in neural networks", ICLR 2018, arXiv:1706.02690.

    Departs from the paper: embeddings are perturbed, not inputs, as a text or a category has no
    gradient; the step is measured in units of the tokens, as embeddings have no common scale;
    temperature and epsilon are not tuned on out-of-distribution rows.
    """

    def __init__(self, temperature: float = 1000.0, epsilon: float = 0.0014) -> None:
        if not (temperature > 0 and epsilon >= 0):
            raise ConfigError(
                f"ODIN: temperature={temperature}, epsilon={epsilon}; expected a temperature above "
                "0 and an epsilon of 0 or more."
            )
        self.temperature, self.epsilon = temperature, epsilon

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """One minus the maximum probability at the temperature."""
        return doubts(logits / self.temperature)[1][:, 0]

    def inputs(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The fused vectors and logits of the perturbed tokens."""
        leaves = {m: t.values.detach().requires_grad_() for m, t in reading.tokens.items()}
        with torch.enable_grad():
            held = {m: Tokens(z, reading.tokens[m].mask) for m, z in leaves.items()}
            _, logits = _read(reading, held)
            belief = (logits / self.temperature).log_softmax(dim=-1).amax(dim=-1).sum()
            # Of rows with nothing present there is nothing to perturb.
            steps = (
                torch.autograd.grad(belief, list(leaves.values()), allow_unused=True)
                if leaves
                else ()
            )
        with torch.no_grad():
            moved = {
                m: t if step is None else self._moved(t, step)
                for (m, t), step in zip(reading.tokens.items(), steps, strict=True)
            }
            return _read(reading, moved)

    def _moved(self, tokens: Tokens, step: Tensor) -> Tokens:
        real = tokens.mask.unsqueeze(-1)
        size = tokens.values.masked_fill(~real, 0).square().sum(dim=(1, 2), keepdim=True)
        count = (real.sum(dim=(1, 2), keepdim=True) * tokens.values.shape[2]).clamp(min=1)
        return Tokens(
            tokens.values + self.epsilon * (size / count).sqrt() * step.sign(), tokens.mask
        )


def _read(reading: Reading, tokens: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
    fused = reading.model.fuse(tokens, reading.present)
    logits = reading.model.read(fused, reading.present).logits[reading.target]
    return fused.vector, class_logits(logits)
