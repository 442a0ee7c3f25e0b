"""Series of several modalities from shared and private Gaussian processes."""

from mmfuse.gpvae.fourier import FourierBasis
from mmfuse.gpvae.model import MMGPVAE, Latents
from mmfuse.gpvae.series import Series

__all__ = ["MMGPVAE", "FourierBasis", "Latents", "Series"]
