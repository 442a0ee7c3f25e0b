"""Whether a sound's file ends before it should, where its reader would take what is left."""

from __future__ import annotations

# Sizes from here up stand for "not known" in files that were written to a pipe.
_OPEN_END = 0x7FFF_0000


def is_cut(content: bytes) -> bool:
    """Whether a WAV or Ogg file lacks its end; False for other formats."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return _wav_is_cut(content)
    return content[:4] == b"OggS" and _ogg_is_cut(content)


def _wav_is_cut(content: bytes) -> bool:
    """Whether the chunk of samples is longer than the file."""
    at = 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            return size < _OPEN_END and at + 8 + size > len(content)
        at += 8 + size + size % 2
    return False  # the reader says what is wrong with a file without samples


def _ogg_is_cut(content: bytes) -> bool:
    """Whether the last page is incomplete, or is not marked as the last (RFC 3533)."""
    page = content[content.rfind(b"OggS") :]
    if len(page) < 27:
        return True
    lengths = page[27 : 27 + page[26]]
    is_last = bool(page[5] & 4)
    return not is_last or len(page) < 27 + page[26] + sum(lengths)
