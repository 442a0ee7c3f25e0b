"""Hidden modalities: which present ones a loss hides, and the encodings that it compares with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Towers

#: Whose encodings are the targets: the model's own, or those of its encoders at the start.
Aim = Literal["own", "start"]


def draw_hidden(present: Tensor, index: Tensor, training: bool) -> Tensor:
    """Which of its modalities each row is to do without for once; it keeps at least one.

    In training a row with n modalities hides 1 to n - 1 of them, each number and each choice alike
    likely. In evaluation row i hides one, its (i mod n)-th, so that a loss is the same at every
    call and in any company.

    Args:
        present: who is there.
        index: the rows' numbers in the data set.
        training: draw; else go by the number.

    Shape:
        present (B, M), index (B,) -> (B, M) bool, False where absent
    """
    count = present.sum(dim=1, keepdim=True)
    if training:
        # As many as hide come first in an order of chance.
        chance = torch.rand(present.shape, device=present.device).masked_fill(~present, 2)
        hides = 1 + (torch.rand(len(present), 1, device=present.device) * (count - 1)).floor()
        hidden = chance.argsort(dim=1).argsort(dim=1) < hides
    else:
        place = present.cumsum(dim=1) - 1
        hidden = place == index.unsqueeze(1) % count.clamp(min=1)
    return hidden & present & (count > 1)


class Targets(nn.Module):
    """The encodings that hidden modalities are compared with; no gradient flows into them.

    Args:
        model: whose encoders are meant.
        aim: ``own``, or ``start`` for a frozen copy of the encoders as they are now, which
            becomes part of the training's checkpoint. Encoders that do not learn need no copy.
    """

    def __init__(self, model: FusionModel, aim: Aim) -> None:
        super().__init__()
        self.start: Towers | None = None
        if aim == "start" and any(p.requires_grad for p in model.encoders.parameters()):
            self.start = copy.deepcopy(model.only(model.modalities)).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Targets:
        """The copy stays in eval mode."""
        super().train(mode)
        if self.start is not None:
            self.start.eval()
        return self

    @torch.no_grad()
    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens]
    ) -> dict[str, Tensor]:
        """Each modality's mean token, ``(B, dims[m])``; zero where absent."""
        if self.start is not None:
            tokens = self.start.encode(batch)
        found, _ = model.fusion.blanked(tokens, model.present(batch))
        return {m: t.pooled().detach() for m, t in found.items()}
