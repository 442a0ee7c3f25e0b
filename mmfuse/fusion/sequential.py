"""Sequential fusion: one state that the modalities update in turn (MultiModN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.tokens import Tokens


class SequentialFusion(Fusion):
    """Modalities update a shared state in turn; an absent one leaves it unchanged.

    The state starts at a learned vector (the ``prior``) and passes through the modalities
    in order::

        s_m = W_m [h_m(z_m) ; s_{m-1}] + b_m   if m is present, else s_{m-1}

    with ``h_m`` a one-hidden-layer perceptron. Every state is handed to the heads, so a
    prediction can be read after each modality.

    The paper concludes that absence carries no signal that training could learn. That holds
    for a modality at the end of the chain; the states after a skipped step still tell that
    it was skipped. Where absence may follow the label, put the modality that goes missing
    last, or train with ``order="random"``: see ``experiments/mnar``.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width S of the state.
        hidden: width of ``h_m``.
        dropout: rate inside ``h_m``.
        order: ``given`` follows ``dims``; ``random`` draws a new order for every training
            batch (evaluation follows ``dims``), so that one model serves any order.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, S),
        steps (B, M + 1, S), step_present (B, M + 1), step_modality (M + 1,) or (B, M + 1)

    Raises:
        ConfigError: an order that is not a permutation of the modalities.
        UnknownModalityError: a modality in ``tokens`` that ``dims`` does not name.

    Reference:
        Swamy et al., "MultiModN: Multimodal, Multi-Task, Interpretable Modular Networks",
        NeurIPS 2023, arXiv:2309.14118.

    Departs from the authors' code: the skip is decided per row, not per batch, so one
    incomplete row does not silence a modality for its neighbours.

    Example:
        >>> fusion = SequentialFusion({"a": 4, "b": 2}, out_dim=8)
        >>> tokens = {"a": Tokens.of(torch.ones(3, 4)), "b": Tokens.of(torch.ones(3, 2))}
        >>> fusion(tokens, torch.ones(3, 2, dtype=torch.bool)).steps.shape
        torch.Size([3, 3, 8])
    """

    is_sequential = True

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 64,
        hidden: int = 64,
        dropout: float = 0.0,
        order: Literal["given", "random"] = "given",
    ) -> None:
        super().__init__(dims, out_dim)
        if order not in ("given", "random"):
            raise ConfigError(f"order is {order!r}; expected 'given' or 'random'.")
        self.training_order = order
        self.hidden = nn.ModuleDict(
            {
                m: nn.Sequential(
                    nn.Linear(d, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, out_dim)
                )
                for m, d in dims.items()
            }
        )
        # W_m [h ; s] is W'_m h + W''_m s. The first part needs no state, so it is computed
        # for all modalities before the loop and only the second waits for its turn.
        self.carry = nn.ModuleDict({m: nn.Linear(out_dim, out_dim, bias=False) for m in dims})
        nn.init.normal_(self.prior, std=0.02)

    def fuse(
        self,
        tokens: dict[str, Tokens],
        present: Tensor,
        order: Sequence[str] | Tensor | None = None,
    ) -> Fused:
        """Runs the chain.

        Args:
            tokens: each modality's tokens, blank where absent.
            present: ``(B, M)`` bool.
            order: modality names, or positions ``(B, M)`` for an order of each row's own;
                None follows ``self.training_order``.
        """
        updates = [self.hidden[m](t.pooled()) for m, t in tokens.items()]
        if isinstance(order, Tensor):
            return self._by_row(updates, present, order)
        state = self.prior.expand(present.shape[0], -1)
        steps = [state]
        turns = self._turns(order)
        for turn in turns:
            moved = updates[turn] + self.carry[self.modalities[turn]](state)
            state = torch.where(present[:, turn, None], moved, state)
            steps.append(state)
        # Both are stacked from views on the device, as a list used as an index is copied there.
        always = present.new_ones(present.shape[0])
        happened = torch.stack([always, *(present[:, turn] for turn in turns)], dim=1)
        positions = torch.arange(-1, len(turns), device=present.device)
        modality = torch.stack([positions[turn + 1] for turn in (-1, *turns)])
        return Fused(state, torch.stack(steps, dim=1), happened, modality)

    def _turns(self, order: Sequence[str] | None) -> list[int]:
        if order is None:
            random = self.training and self.training_order == "random"
            count = len(self.modalities)
            return torch.randperm(count).tolist() if random else list(range(count))
        if unknown := set(order) - set(self.modalities):
            raise UnknownModalityError(
                f"The order names {sorted(unknown)}; the fusion knows {list(self.modalities)}."
            )
        if len(set(order)) != len(order) or len(order) != len(self.modalities):
            raise ConfigError(
                f"The order {list(order)} must name each of {list(self.modalities)} once."
            )
        return [self.modalities.index(m) for m in order]

    def _by_row(self, updates: list[Tensor], present: Tensor, order: Tensor) -> Fused:
        every = torch.arange(present.shape[1], device=present.device)
        if order.shape != present.shape or not (order.sort(dim=1).values == every).all():
            raise ConfigError(
                f"A per-row order must hold a permutation of 0..{present.shape[1] - 1} in each "
                f"of the {present.shape[0]} rows; found shape {tuple(order.shape)}."
            )
        every_update = torch.stack(updates, dim=1)
        every_carry = torch.cat(list(self.carry.parameters()))  # (M * S, S)
        state = self.prior.expand(present.shape[0], -1)
        steps = [state]
        for turn in order.unbind(dim=1):
            # All modalities' moves in one product, then each row takes the one whose turn it is.
            moves = every_update + F.linear(state, every_carry).view_as(every_update)
            turn = turn.unsqueeze(1)
            moved = moves.gather(1, turn.unsqueeze(2).expand(-1, 1, self.out_dim)).squeeze(1)
            state = torch.where(present.gather(1, turn), moved, state)
            steps.append(state)
        first = present.new_ones(present.shape[0], 1)
        happened = torch.cat([first, present.gather(1, order)], dim=1)
        modality = torch.cat([order.new_full((len(order), 1), -1), order], dim=1)
        return Fused(state, torch.stack(steps, dim=1), happened, modality)
