"""Media: pictures, sounds and videos, decoded for an encoder's ``preprocess``.

A picture is a ``PIL.Image.Image`` in RGB; a sound is a ``Sound``; a video is a ``Video``,
whose frames are decoded when an encoder asks for them.
"""

from mmfuse.media.image import decode_image
from mmfuse.media.sound import Sound, decode_sound
from mmfuse.media.video import Video

__all__ = ["Sound", "Video", "decode_image", "decode_sound"]
