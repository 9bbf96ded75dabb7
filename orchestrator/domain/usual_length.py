"""Usual length of media files of one kind and size, for estimates only."""

from __future__ import annotations

from typing import Final

_BYTES_PER_S: Final = {
    # Usual encodings: lossy 192 kbit/s, CD quality, lossless about 60 % of that, video 5 Mbit/s.
    **dict.fromkeys(("mp3", "m4a", "aac", "ogg", "opus", "wma"), 24_000),
    **dict.fromkeys(("wav", "aiff", "aif", "pcm"), 176_400),
    **dict.fromkeys(("flac", "ape", "alac"), 106_000),
    **dict.fromkeys(("mp4", "mov", "mkv", "avi", "flv", "webm", "ts", "m4v"), 625_000),
    "amr": 1_600,
}
_OTHER_BYTES_PER_S = 24_000


def suffix_of(name: str) -> str:
    """Return what follows the last dot of an object's last part, in lower case; empty if none."""
    _, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot and "/" not in suffix else ""


def seconds_of_size(suffix: str, size_bytes: int) -> float:
    """Return the usual duration in seconds of files of this size and kind (their suffix)."""
    return size_bytes / _BYTES_PER_S.get(suffix, _OTHER_BYTES_PER_S)
