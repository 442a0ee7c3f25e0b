"""Unimodal encoders for mmfuse, one file a kind of input."""

from mmfuse_encoders.aligned import AlignedEncoder
from mmfuse_encoders.audio import LogMelCNNEncoder
from mmfuse_encoders.clap_audio import ClapAudioEncoder
from mmfuse_encoders.clap_text import ClapTextEncoder
from mmfuse_encoders.continuous_time import ContinuousTimeEncoder
from mmfuse_encoders.identity import IdentityEncoder
from mmfuse_encoders.image import ImageCNNEncoder
from mmfuse_encoders.lipschitz import LipschitzCNNEncoder, LipschitzMLPEncoder
from mmfuse_encoders.neighbors import NeighborEncoder
from mmfuse_encoders.open_clip_image import OpenClipImageEncoder
from mmfuse_encoders.open_clip_text import OpenClipTextEncoder
from mmfuse_encoders.pair_delta import PairDeltaEncoder
from mmfuse_encoders.patch_transformer import PatchTransformerEncoder
from mmfuse_encoders.projected import ProjectedEncoder
from mmfuse_encoders.series import GRUEncoder, SeriesCNNEncoder
from mmfuse_encoders.shared_tokens import SharedTokenAdapter
from mmfuse_encoders.table import FTTransformerEncoder, TableMLPEncoder
from mmfuse_encoders.text import HashedNgramEncoder
from mmfuse_encoders.timm_image import TimmEncoder
from mmfuse_encoders.tokens import TokenProjectionEncoder
from mmfuse_encoders.torchvision_image import TorchvisionEncoder
from mmfuse_encoders.torchvision_video import TorchvisionVideoEncoder
from mmfuse_encoders.transformers_text import TransformersTextEncoder
from mmfuse_encoders.vector import LinearEncoder, MLPEncoder, ResidualMLPEncoder
from mmfuse_encoders.video import FramePoolEncoder
from mmfuse_encoders.wav2vec2_audio import Wav2Vec2Encoder

__all__ = [
    "AlignedEncoder",
    "ClapAudioEncoder",
    "ClapTextEncoder",
    "ContinuousTimeEncoder",
    "FTTransformerEncoder",
    "FramePoolEncoder",
    "GRUEncoder",
    "HashedNgramEncoder",
    "IdentityEncoder",
    "ImageCNNEncoder",
    "LinearEncoder",
    "LipschitzCNNEncoder",
    "LipschitzMLPEncoder",
    "LogMelCNNEncoder",
    "MLPEncoder",
    "NeighborEncoder",
    "OpenClipImageEncoder",
    "OpenClipTextEncoder",
    "PairDeltaEncoder",
    "PatchTransformerEncoder",
    "ProjectedEncoder",
    "ResidualMLPEncoder",
    "SeriesCNNEncoder",
    "SharedTokenAdapter",
    "TableMLPEncoder",
    "TimmEncoder",
    "TokenProjectionEncoder",
    "TorchvisionEncoder",
    "TorchvisionVideoEncoder",
    "TransformersTextEncoder",
    "Wav2Vec2Encoder",
]
