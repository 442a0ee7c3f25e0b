"""Ways to bind spaces, one file a method."""

from mmfuse.binding.methods.base import BindingMethod
from mmfuse.binding.methods.cmcr import CMCR
from mmfuse.binding.methods.freebind import FreeBind
from mmfuse.binding.methods.omnibind import OmniBind
from mmfuse.binding.methods.plain import MeanOfSpaces, Specialist

__all__ = ["CMCR", "BindingMethod", "FreeBind", "MeanOfSpaces", "OmniBind", "Specialist"]
