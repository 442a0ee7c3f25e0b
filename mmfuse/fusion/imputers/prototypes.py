"""PrototypeImputer: the nearest of a few typical rows."""

from __future__ import annotations

from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.fusion.imputers.base import FittedImputer
from mmfuse.fusion.imputers.clusters import k_means, shared_distance


class PrototypeImputer(FittedImputer):
    """The prototype that is nearest by what is present; prototypes are k-means centres.

    Training rows are clustered over all modalities at once, without labels; each centre is a
    whole row. A row that lacks something gets the columns of the centre that is nearest in the
    columns which it has, each modality counting alike.

    Args:
        count: how many prototypes, K.
        seed: of the start of k-means.

    Raises:
        ConfigError: no prototype.
    """

    kept = ("centres",)

    centres: Tensor

    def __init__(self, count: int = 10, seed: int = 0) -> None:
        super().__init__()
        if count < 1:
            raise ConfigError(f"PrototypeImputer: count is {count}; expected 1 or more.")
        self.count, self.seed = count, seed

    def remember(self, z: Tensor, present: Tensor) -> dict[str, Tensor]:
        """The centres, ``(K, D)``."""
        columns = self.get_buffer("columns")
        return {"centres": k_means(z, present, columns, self.count, self.seed)}

    def expected(self, z: Tensor, present: Tensor) -> Tensor:
        """The nearest centre."""
        centres = self.centres.to(z.dtype)
        everywhere = present.new_ones(len(centres), present.shape[1])
        columns = self.get_buffer("columns")
        distance = shared_distance(z, present, centres, everywhere, columns)
        return centres[distance.argmin(dim=1)]
