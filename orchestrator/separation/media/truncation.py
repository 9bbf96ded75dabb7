"""Detect a file that was cut off, by the length that the file itself states.

Bare AAC and AMR streams, Ogg, and mp3 without a Xing header state no length, so a missing end
cannot be detected there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_STATES_LENGTH: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "flac",
    "aiff",
    "caf",
    "tta",
    "wv",
    "ape",
)
"""Containers (FFmpeg's names) with the length in the header; FFmpeg estimates that of others."""
_UNKNOWN_RIFF_BYTES: Final = 0x7FFF0000
"""Writers that do not know the size write this value or more."""
_MISSING_ALLOWED_S: Final = 0.25
_MISSING_ALLOWED_SHARE: Final = 0.005
"""Allowance at the end: some headers include encoder delay and padding, or are rounded."""


def missing_s(path: Path, container_name: str, declared_s: float | None, found_s: float) -> float:
    """Return the seconds of sound that are missing at the end.

    Args:
        path: The file.
        container_name: FFmpeg's name of the container.
        declared_s: Length that FFmpeg reports before decoding.
        found_s: Length that was decoded.

    Returns:
        Seconds; 0 if the file is complete or states no length.
    """
    stated_s = _stated_s(path, container_name, declared_s, found_s) or 0.0
    missing = stated_s - found_s
    allowed = max(_MISSING_ALLOWED_S, _MISSING_ALLOWED_SHARE * stated_s)
    return missing if missing > allowed else 0.0


def _stated_s(
    path: Path, container_name: str, declared_s: float | None, found_s: float
) -> float | None:
    if container_name in _HEADER_STATES_LENGTH or (
        container_name == "mp3" and _has_xing_header(path)
    ):
        return declared_s
    if container_name == "wav":  # FFmpeg silently uses the size of the file here
        return found_s * _riff_bytes(path) / path.stat().st_size
    return None


def _riff_bytes(path: Path) -> int:
    """Return the size of a wave file by its header, or its real size if the header has none."""
    with path.open("rb") as file:
        head = file.read(8)
    stated = struct.unpack("<I", head[4:])[0] + 8 if head[:4] == b"RIFF" and len(head) == 8 else 0
    return stated if 8 < stated < _UNKNOWN_RIFF_BYTES else path.stat().st_size


def _has_xing_header(path: Path) -> bool:
    """Return True if an mp3 begins with a frame that states the number of frames.

    LAME and FFmpeg write one; it reads "Info" if the bitrate is constant.
    """
    with path.open("rb") as file:
        tag = file.read(10)
        start = 0
        if tag[:3] == b"ID3":  # its size is written with 7 bits per byte
            sizes = zip(tag[6:10], (21, 14, 7, 0), strict=False)
            start = 10 + sum(byte << shift for byte, shift in sizes)
        file.seek(start)
        first_frame = file.read(256)
    return b"Xing" in first_frame or b"Info" in first_frame
