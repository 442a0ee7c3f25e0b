"""The encoder contract: raw input of the rows that have a modality -> tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

from torch import Tensor, nn

from mmfuse.batch import RawInput
from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded
from mmfuse.registry import known
from mmfuse.spec import Kind, ModalitySpec
from mmfuse.tokens import Tokens

_IS_REBUILDING = ContextVar("rebuilding", default=False)


@contextmanager
def without_pretrained_weights() -> Iterator[None]:
    """Inside, pretrained encoders are built with blank weights: a checkpoint brings its own."""
    token = _IS_REBUILDING.set(True)
    try:
        yield
    finally:
        _IS_REBUILDING.reset(token)


def needs_pretrained_weights() -> bool:
    """Whether a pretrained encoder that is being built must load its weights."""
    return not _IS_REBUILDING.get()


class Encoder(nn.Module, Recorded, ABC):
    """Base of all unimodal encoders.

    An encoder sees only rows that have its modality: the model selects them before and
    spreads the result after. A subclass states which ``kinds`` of input it takes, sets
    ``out_dim`` and writes ``forward``.

    Args:
        spec: what the input looks like. In YAML the model fills it in from the data.
        out_dim: width D of the tokens.
        frozen: keep the weights and the mode (eval) as they are; no gradient is recorded.

    Shape:
        forward: (B, *spec.shape), or Tokens for unequal lengths -> (B, D) or Tokens (B, T, D)

    Raises:
        ConfigError: ``spec.kind`` is not one of ``kinds``, or the input has gaps and the
            encoder does not take them.
    """

    #: Kinds of input that the encoder takes.
    kinds: ClassVar[frozenset[Kind]] = frozenset({"vector"})
    #: Kinds of input for which it is the default when nobody names an encoder.
    default_for: ClassVar[frozenset[Kind]] = frozenset()
    #: Whether cells of a row may be missing (NaN), as ``missing_cells="keep"`` leaves them.
    takes_gaps: ClassVar[bool] = False
    #: Whether ``forward`` takes ``PickedRows`` too, as a model has them that looks at some rows of
    #: a table in memory; others get the rows themselves.
    takes_picked: ClassVar[bool] = False

    def __init__(
        self, spec: ModalitySpec | int | Sequence[int | None], out_dim: int, frozen: bool = False
    ) -> None:
        super().__init__()
        self.spec = ModalitySpec.of(spec)
        self.out_dim = out_dim
        self.frozen = frozen
        if self.spec.kind not in self.kinds:
            raise ConfigError(
                f"{type(self).__name__} takes {' or '.join(sorted(self.kinds))}, the modality is "
                f"{self.spec.kind}. Choose another encoder, or declare another kind in the data."
            )
        if self.spec.has_gaps and not self.takes_gaps:
            raise ConfigError(
                f"{type(self).__name__} does not take missing cells, and the {self.spec.kind} has "
                f'some. Set missing_cells="mean" in the data{self._others(self.spec.kind)}.'
            )

    @staticmethod
    def _others(kind: Kind) -> str:
        able = [n for n, c in known(Encoder).items() if c.takes_gaps and kind in c.kinds]  # type: ignore[attr-defined]
        return f", or choose an encoder that takes them: {', '.join(able)}" if able else ""

    def _constructed(self) -> None:
        """Freezes what the subclass's constructor has made by now."""
        if self.frozen:
            self.freeze()

    @property
    def lipschitz(self) -> float | None:
        """How far two rows' results can lie apart in l2 for each unit between their inputs.

        A proven bound in eval mode, of tokens on their mean; None where none is known.
        """
        return None

    @abstractmethod
    def forward(self, x: Any) -> Tokens | Tensor:
        """Encodes the rows that have the modality."""

    def preprocess(self, raw: Any) -> RawInput:
        """Turns raw values of the present rows into what ``forward`` takes.

        Runs in the data workers, a batch at a time. Raw values are a tensor or Tokens for
        arrays, and a list for everything else: strings, pictures (``PIL.Image.Image``, RGB),
        ``mmfuse.media.Sound`` or ``mmfuse.media.Video``. The default suits arrays: it passes
        them on as they are.

        Raises:
            DataError: a row that cannot be used; with ``on_error="absent"`` it then counts
                as absent.
        """
        return raw

    def preprocessing(self) -> dict[str, Any]:
        """What ``preprocess`` does, in plain data, to stand beside extracted features."""
        return {}

    def train(self, mode: bool = True) -> Encoder:
        """A frozen encoder stays in eval mode."""
        super().train(mode and not self.frozen)
        return self

    def freeze(self) -> Encoder:
        """Stops all learning in this encoder."""
        self.frozen = True
        self.requires_grad_(False)
        self.train(False)
        return self
