"""Whether a video's file ends before it should, where FFmpeg would take what is left."""

from __future__ import annotations

from itertools import takewhile

# Of an MP4 or MOV file, what holds the pictures or says where they are.
_NEEDED = (b"moov", b"mdat", b"moof")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
# Sizes from here up stand for "not known" in files that were written to a pipe.
_OPEN_END = 0x7FFF_0000


def is_cut(content: bytes) -> bool:
    """Whether an MP4, MOV, Matroska, WebM or AVI file lacks its end; False for other formats."""
    if content[4:8] in (b"ftyp", *_NEEDED):
        return _mp4_is_cut(content)
    if content[:4] == _EBML:
        return _matroska_is_cut(content)
    if content[:4] == b"RIFF" and content[8:12] == b"AVI ":
        size = int.from_bytes(content[4:8], "little")
        return size < _OPEN_END and 8 + size > len(content)
    return False


def _mp4_is_cut(content: bytes) -> bool:
    """Whether one of the boxes that the file is made of is longer than what is left (ISO 14496-12).

    What follows the last box that matters, such as a camera's own notes, may be anything.
    """
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        if size < 8:  # 0: up to the end of the file; others cannot be
            return False
        if at + size > len(content):
            return kind in _NEEDED
        at += size
    return False


def _matroska_is_cut(content: bytes) -> bool:
    """Whether the segment, which holds everything, is longer than the file (RFC 8794, RFC 9559)."""
    size, start = _ebml_size(content, 4)
    at = start + (size or 0)
    if content[at : at + 4] != _SEGMENT:
        return False
    size, start = _ebml_size(content, at + 4)
    return size is not None and start + size > len(content)


def _ebml_size(content: bytes, at: int) -> tuple[int | None, int]:
    """An element's size, None where it is not known, and where its content starts."""
    first = f"{content[at]:08b}" if at < len(content) else "0" * 8
    length = len(list(takewhile("0".__eq__, first))) + 1
    bits = 7 * length
    size = int.from_bytes(content[at : at + length], "big") & ((1 << bits) - 1)
    return None if length > 8 or size == (1 << bits) - 1 else size, at + length
