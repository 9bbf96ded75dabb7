"""The length that a container states: of the sound in bytes, or of the whole in seconds.

FFmpeg silently reads what is there, and estimates the length where it does not know it. So the
statements are read here, from the header, the chunk or the index in which they stand.

Sources: Microsoft's RIFF and ASF specifications, EBU Tech 3306 (RF64), Sony's W64, Apple's AIFF-C
and CAF specifications, Sun's au header, RFC 8794 and 9559 (EBML, Matroska), ISO/IEC 14496-12 (MP4),
Adobe's FLV specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.separation.media.boxes import (
    avi_tracks,
    boxes,
    boxes_at,
    caf_chunks,
    chunks,
    elements,
    voc_blocks,
    w64_chunks,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.separation.media.byte_source import ByteSource

_UNKNOWN_32: Final = 0x7FFF0000
"""Writers that do not know a size write this value or more."""
_MOST_SECONDS: Final = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Stated:
    """Statement of a container; the parts that it lacks are None.

    Attributes:
        sound_bytes: Bytes of the part that holds the sound (and the picture).
        present_bytes: Bytes of that part that the file has.
        length_s: Length of the longest track.
        is_sound_only: The part holds sound at a constant rate and nothing else.
        has_first_fragment: It is a fragmented film from its first fragment on.
        tracks_s: Length of each track (avi files without an index).
    """

    sound_bytes: int | None = None
    present_bytes: int = 0
    length_s: float | None = None
    is_sound_only: bool = False
    has_first_fragment: bool = False
    tracks_s: tuple[float | None, ...] = ()

    @property
    def missing_bytes(self) -> int:
        """Bytes that are stated and not present."""
        return max((self.sound_bytes or 0) - self.present_bytes, 0)


def stated_by(source: ByteSource) -> Stated:
    """Return what the container states; nothing for a container without such a statement."""
    head = source.at(0, 20)
    for signature, reader in _READERS:
        if head.startswith(signature):
            return reader(source)
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"moof", b"styp", b"sidx", b"free", b"wide"}:
        return _mp4(source)
    return Stated()


def _part(
    source: ByteSource, start: int, size: int | None, *, is_sound_only: bool = True
) -> Stated:
    """Return the statement about the bytes from ``start`` on."""
    if size is None:
        return Stated()
    present = min(max(source.size - start, 0), size)
    return Stated(size, present, is_sound_only=is_sound_only)


def _plausible_s(seconds: float) -> float | None:
    return seconds if 0 < seconds < _MOST_SECONDS else None


def _riff(source: ByteSource) -> Stated:
    """Read wave (RIFF, RF64, BW64) and avi files: the data chunk, not the RIFF size."""
    head = source.at(0, 12)
    if head[8:12] == b"AVI ":
        return _avi(source)
    size_64 = None
    for name, at, size in chunks(source, 12, "<"):
        if name == b"ds64":
            size_64 = source.number(at + 8, 8, "little")
        elif name == b"data":
            if size_64 and size >= _UNKNOWN_32:
                return _part(source, at, size_64)
            return _part(source, at, size if 0 < size < _UNKNOWN_32 else None)
    return Stated()


def _avi(source: ByteSource) -> Stated:
    """Add up the ``movi`` lists of all RIFF chunks; without an index, the header has lengths."""
    total = present = 0
    has_index = False
    for name, at, size in chunks(source, 0, "<"):
        if name != b"RIFF":
            break
        for part, start, length in chunks(source, at + 4, "<", at + size if size else None):
            if part == b"LIST" and source.at(start, 4) == b"movi":
                if not 4 < length < _UNKNOWN_32:
                    return Stated()
                total += length
                present += min(length, max(source.size - start, 0))
            has_index = has_index or part == b"idx1"
        if not 0 < size < 0xFFFFFFFF:
            break
    tracks = () if has_index else avi_tracks(source)
    tracks_s = tuple(_avi_length_s(source, leaves.get(b"strh")) for leaves in tracks)
    return Stated(total or None, present, tracks_s=tracks_s)


def _avi_length_s(source: ByteSource, header: int | None) -> float | None:
    """Return the length of a track by its header; none if it was not filled in."""
    if header is None:
        return None
    scale, rate, _, length = (source.number(header + at, 4, "little") for at in (20, 24, 28, 32))
    return _plausible_s(length * scale / rate) if rate and length < _UNKNOWN_32 else None


def _aiff(source: ByteSource) -> Stated:
    for name, at, size in chunks(source, 12, ">"):
        if name == b"SSND":
            return _part(source, at, size if 8 < size < _UNKNOWN_32 else None)
    return Stated()


def _au(source: ByteSource) -> Stated:
    start, size = source.number(4, 4), source.number(8, 4)
    return _part(source, start, size if 0 < size < _UNKNOWN_32 else None)


def _w64(source: ByteSource) -> Stated:
    for name, at, size in w64_chunks(source):
        if name == b"data":
            return _part(source, at, size if 0 < size < 1 << 62 else None)
    return Stated()


def _caf(source: ByteSource) -> Stated:
    for name, at, size in caf_chunks(source):
        if name == b"data":
            return _part(source, at, size if size > 4 else None)
    return Stated()


def _voc(source: ByteSource) -> Stated:
    """Add up the blocks. Behind one that is cut off, any number may be missing."""
    blocks_of = [(at, size) for kind, at, size in voc_blocks(source) if kind]
    total = sum(size for _, size in blocks_of)
    present = sum(min(size, max(source.size - at, 0)) for at, size in blocks_of)
    is_sound_only = total == present or len(blocks_of) == 1
    return Stated(total or None, present, is_sound_only=is_sound_only)


_ASF_DATA: Final = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf(source: ByteSource) -> Stated:
    """Read the size of the data object, and the play time without the preroll."""
    length_s = None
    header = source.at(0, min(source.number(16, 8, "little"), 1 << 20))
    if (at := header.find(_ASF_FILE)) > 0 and len(header) >= at + 92:
        play, _, preroll_ms, flags = struct.unpack_from("<QQQI", header, at + 64)
        seconds = play / 1e7 - preroll_ms / 1000
        if not flags & 1:  # a broadcast states no length
            length_s = _plausible_s(seconds)
    position = source.number(16, 8, "little")
    if source.at(position, 16) == _ASF_DATA:
        size = source.number(position + 16, 8, "little")
        part = _part(source, position, size if 50 < size < 1 << 62 else None)
        return Stated(part.sound_bytes, part.present_bytes, length_s)
    # The data object itself is missing.
    return Stated(1, 0, length_s) if position >= source.size else Stated(length_s=length_s)


_SEGMENT, _INFO, _CLUSTER = 0x18538067, 0x1549A966, 0x1F43B675
_TIMESTAMP_SCALE, _DURATION = 0x2AD7B1, 0x4489


def _matroska(source: ByteSource) -> Stated:
    """Read the size of the segment, and the duration in its info."""
    for name, start, size in elements(source, 0, source.size):
        if name == _SEGMENT:
            part = _part(source, start, size, is_sound_only=False)
            return Stated(part.sound_bytes, part.present_bytes, _matroska_length_s(source, start))
    return Stated()


def _matroska_length_s(source: ByteSource, position: int) -> float | None:
    for name, start, size in elements(source, position, source.size):
        if name == _CLUSTER or size is None:
            break
        if name == _INFO:
            return _duration_s(source, start, start + size)
    return None


def _duration_s(source: ByteSource, position: int, end: int) -> float | None:
    scale_ns, duration = 1_000_000, None
    for name, start, size in elements(source, position, end):
        if name == _TIMESTAMP_SCALE and size is not None:
            scale_ns = source.number(start, min(size, 8))
        elif name == _DURATION and size in {4, 8}:
            (duration,) = struct.unpack(">f" if size == 4 else ">d", source.at(start, size))
    return _plausible_s((duration or 0) * scale_ns / 1e9)


def _flv(source: ByteSource) -> Stated:
    """Read the duration in the script data at the beginning."""
    data = source.at(0, 1 << 16)
    at = data.find(b"\x00\x08duration\x00")
    if at < 0 or len(data) < at + 19:
        return Stated()
    (seconds,) = struct.unpack_from(">d", data, at + 11)
    return Stated(length_s=_plausible_s(seconds))


def _mp4(source: ByteSource) -> Stated:
    """Read the media data and the length of a fragmented file; FFmpeg reads the index of others."""
    total = present = 0
    indexes: list[bytes] = []
    for name, start, size in boxes(source, 0, source.size):
        if name in {b"mdat", b"moof"}:
            total += size
            present += min(size, max(source.size - start, 0))
        elif name == b"sidx":
            indexes.append(source.at(start, min(size, 1 << 20)))
    if total > present:
        return Stated(total, present)
    # Fragments may be missing as a whole.
    length_s = _movie_length_s(source) or _plausible_s(_segments_s(indexes))
    return Stated(length_s=length_s, has_first_fragment=_has_first_fragment(source))


def _has_first_fragment(source: ByteSource) -> bool:
    """Return True if the fragments of a film are numbered from its beginning on."""
    for start, _ in boxes_at(source, (b"moof", b"mfhd"), 0, source.size):
        return source.number(start + 4, 4) <= 1
    return False


def _movie_length_s(source: ByteSource) -> float | None:
    """Return the length by the ``mehd`` box, which only fragmented files have."""
    scale = units = 0
    for start, _ in boxes_at(source, (b"moov", b"mvhd"), 0, source.size):
        scale = source.number(start + (20 if source.number(start, 1) else 12), 4)
    for start, _ in boxes_at(source, (b"moov", b"mvex", b"mehd"), 0, source.size):
        units = source.number(start + 4, 8 if source.number(start, 1) else 4)
    return _plausible_s(units / scale if scale else 0)


def _segments_s(indexes: list[bytes]) -> float:
    """Return the length of the longest track by the contents of the ``sidx`` boxes.

    Each track has boxes of its own, and a box may list the boxes that follow it.
    """
    listed: dict[bytes, list[tuple[float, float]]] = {}
    for box in indexes:
        listed.setdefault(box[4:8], []).append(_listed_s(box))
    lengths_s = [
        max(sum(media for media, _ in boxes), *(media + other for media, other in boxes))
        for boxes in listed.values()
    ]
    return max(lengths_s, default=0)


def _listed_s(box: bytes) -> tuple[float, float]:
    """Return the length of the media that a ``sidx`` box lists, and of the boxes in its list."""
    scale = int.from_bytes(box[8:12], "big")
    if len(box) < 32 or not scale:
        return 0, 0
    lengths = [0.0, 0.0]
    for entry in range(32 if box[0] else 24, len(box) - 11, 12):
        lengths[box[entry] >> 7] += int.from_bytes(box[entry + 4 : entry + 8], "big") / scale
    return lengths[0], lengths[1]


_READERS: Final[tuple[tuple[bytes, Callable[[ByteSource], Stated]], ...]] = (
    (b"RIFF", _riff),
    (b"RF64", _riff),
    (b"BW64", _riff),
    (b"riff", _w64),
    (b"FORM", _aiff),
    (b".snd", _au),
    (b"caff", _caf),
    (b"Creative Voice File", _voc),
    (bytes.fromhex("3026b2758e66cf11"), _asf),
    (b"\x1a\x45\xdf\xa3", _matroska),
    (b"FLV", _flv),
)
