"""RouterFusion: several spaces in one, under weights that a router reads from the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.fusion.routing import Projector, Router
from mmfuse.tokens import Tokens
from mmfuse.unit import unit


class RouterFusion(Fusion):
    """Projections of all modalities in one space, mixed by a router that reads the row.

    ::

        z_m    = projector_m(unit(x_m)),   w = router([unit(x_1) ; ... ; unit(x_M)])
        vector = unit(sum_{m present} w_m z_m)

    The modalities may also be several spaces' embeddings of one modality:
    ``BoundSpace.as_fusion`` gives a bound space in this form. An absent modality is zero in the
    router's input and takes no part in its softmax.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        hidden: width of the projectors' hidden layer.
        members: perceptrons a projector averages.
        router_hidden: widths of the router's two hidden layers.
        sharpness: see ``Router``.
        base: a modality whose space is the joint one, and which is not projected; its width is
            ``out_dim``.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Raises:
        ConfigError: ``base`` is no modality, or is of another width.

    Reference:
        Wang et al., "OmniBind: Large-scale Omni Multimodal Representation via Binding Spaces",
        2024, arXiv:2407.11895.

    Departs from the paper: any sources, not only frozen spaces; statistics of the batch norms
    come from the present rows.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        hidden: int = 512,
        members: int = 1,
        router_hidden: Sequence[int] = (512, 100),
        sharpness: float = 1.0,
        base: str | None = None,
    ) -> None:
        super().__init__(dims, out_dim)
        if base is not None and dims.get(base) != out_dim:
            raise ConfigError(
                f"RouterFusion: base is {base!r} with out_dim {out_dim}; expected one of "
                f"{dict(dims)} of that width."
            )
        self.projectors = nn.ModuleDict(
            {m: Projector(d, out_dim, hidden, members) for m, d in dims.items() if m != base}
        )
        self.router = Router(sum(dims.values()), len(dims), router_hidden, sharpness)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Projects, weighs and adds up."""
        vectors = {m: unit(t.pooled()) for m, t in tokens.items()}
        columns = dict(zip(vectors, present.unbind(dim=1), strict=True))
        projected = [
            self.projectors[m](x, columns[m]) if m in self.projectors else x
            for m, x in vectors.items()
        ]
        weights = self.router(torch.cat(list(vectors.values()), dim=1), present)
        mixed = torch.einsum("bmd,bm->bd", torch.stack(projected, dim=1), weights)
        return Fused(unit(mixed), weights=weights)
