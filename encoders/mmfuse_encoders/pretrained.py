"""PretrainedEncoder: a backbone from some library, what of it learns, and a readout."""

from __future__ import annotations

import functools
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder, needs_pretrained_weights
from mmfuse.errors import CheckpointError, MissingFileError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter, Frozen

_log = logging.getLogger(__name__)


class PretrainedEncoder(Encoder):
    """Base of encoders around a pretrained backbone::

        z = readout(features(x))

    A subclass builds the backbone (inside ``fixed_draw``), hands it to ``_adopt`` at the end
    of its constructor, and writes ``features`` and ``preprocess``. It loads weights only if
    ``needs_pretrained_weights()``: when a checkpoint is loaded, its own take their place.

    Args:
        spec: the modality.
        out_dim: width of the result through a linear readout, which always learns; None for
            the backbone's own width and no readout.
        adapter: what of the backbone learns; ``Frozen()`` by default.

    With ``Frozen()`` and no readout the whole encoder is frozen, so that its output can be
    extracted once and used in its place.

    Attributes:
        random_weights: the backbone began with random weights, not pretrained ones. This is
            logged as a warning, as its features say nothing of what pretraining gives.
    """

    backbone: nn.Module
    random_weights: bool = False

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(spec, out_dim or 0)
        self.adapter = adapter or Frozen()
        self._readout_width = out_dim

    def _adopt(
        self,
        backbone: nn.Module,
        width: int,
        blocks: Sequence[nn.Module],
        random_weights: bool = False,
    ) -> None:
        """Takes the backbone in.

        Args:
            backbone: the network, in any mode.
            width: of its features.
            blocks: its layers, from the input to the output.
            random_weights: nothing pretrained is in it.
        """
        self.backbone, self.random_weights = backbone, random_weights
        if random_weights and needs_pretrained_weights():
            _say_random(type(self).__name__)
        with fixed_draw():  # LoRA draws too
            self.adapter.adapt(backbone, blocks)
        self._learns = any(p.requires_grad for p in backbone.parameters())
        self.out_dim = self._readout_width or width
        self.readout = nn.Linear(width, self.out_dim) if self._readout_width else nn.Identity()
        if not self._learns and not self._readout_width:
            self.frozen = True

    def _constructed(self) -> None:
        super()._constructed()
        self.train(self.training)

    @abstractmethod
    def features(self, x: Any) -> Tokens | Tensor:
        """The backbone's features, before the readout: (B, width) or Tokens."""

    def forward(self, x: Any) -> Tokens | Tensor:
        """Encodes the rows."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._learns):
            found = self.features(x)
        if isinstance(found, Tokens):
            return Tokens(self.readout(found.values), found.mask)
        return self.readout(found)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """What does not learn stays in eval mode."""
        super().train(mode)
        if mode and not self.frozen:
            _rest(self.backbone)
        return self


def not_at_hand(what: str, reason: Exception) -> MissingFileError:
    """The error for what is neither on this machine nor to be had from a hub."""
    first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
    return MissingFileError(
        f"{what} is neither on this machine nor can it be downloaded ({first:.150}). Download it "
        "where there is a network and copy the folder that HF_HOME names (by default "
        "~/.cache/huggingface) to the same place here, or name local files instead."
    )


def existing(path: str) -> Path:
    """A file of weights that is there.

    Raises:
        MissingFileError: it is not.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"There is no file of weights at {path}. Check the path.")
    return Path(path)


def foreign(source: str, model: str, reason: Exception) -> CheckpointError:
    """The error for a file that is damaged, or of another model."""
    what = " ".join(str(reason).split()) or type(reason).__name__
    return CheckpointError(
        f"{source} holds no weights of {model}: {what:.200}. Give the file of this model, or name "
        "the model of the file."
    )


@functools.cache
def _say_random(name: str) -> None:
    """Once in a process for each class."""
    _log.warning(
        "%s has random weights, as none were named: every number that comes from it is that of a "
        "random-weight encoder.",
        name,
    )


def _rest(module: nn.Module) -> None:
    """Eval mode for every part in which no parameter learns."""
    if not any(p.requires_grad for p in module.parameters()):
        module.eval()
        return
    for child in module.children():
        if any(True for _ in child.parameters()):
            _rest(child)


@contextmanager
def fixed_draw() -> Iterator[None]:
    """Inside, random numbers come from a fixed seed, and the global generator stays put.

    Weights that a checkpoint overwrites must not change how the rest of a model starts; so
    a model trained on a backbone's extracted features starts as the one with the backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
