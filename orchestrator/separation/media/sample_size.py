"""Size of the samples in files whose samples are larger than the bits that they use.

A wave header states both, for example 24 bits in 4 bytes. FFmpeg goes by the bits, and reads noise.
The bits stand at the upper end of each sample, so that the samples can be read as if all of their
bits were used. To that end, the header is shown to FFmpeg with other numbers in it.

Sources: Microsoft's specification of WAVEFORMATEXTENSIBLE, Apple's CAF and QuickTime
specifications.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed
from orchestrator.separation.media.boxes import avi_tracks, boxes_at, caf_chunks, chunks, w64_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.separation.media.byte_source import ByteSource

_EXTENSIBLE: Final = 0xFFFE
_PLAIN: Final = (1, 3)
"""Tags of integers and floats."""
_SIZES: Final = (2, 3, 4, 8)
"""Bytes of a sample that can be read."""
_DESCRIPTIONS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_UPPER: Final = 16
"""Flag of a mov file: the bits stand at the upper end."""
_SPOT_BYTES: Final = 1 << 16
_SIGNS: Final = b"\0\xff"
"""Bytes above a small number: its sign."""
_FLOAT_24: Final = (24, 4)
"""Bits and bytes of a plain wave file that may hold the floats of Cool Edit, which FFmpeg reads."""


def header_changes(source: ByteSource) -> dict[int, bytes]:
    """Return bytes by their position that make a header state the size of its samples.

    Raises:
        SeparationFailed: ``ResourceNotSupported``: the bits stand at the lower end.
    """
    head = source.at(0, 12)
    if head[:4] == b"caff":
        return _caf_changes(source)
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"wide"}:
        return _mov_changes(source)
    changes: dict[int, bytes] = {}
    for form, data in _wave_formats(source, head):
        changes |= _wave_changes(source, form, data)
    return changes


def _wave_formats(source: ByteSource, head: bytes) -> Iterator[tuple[int, int | None]]:
    """Yield the positions of each wave format in a file, and of its samples if they are known."""
    if head[:4] == b"riff":
        found = {name: at for name, at, _ in w64_chunks(source) if name in {b"fmt ", b"data"}}
    elif head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:] == b"WAVE":
        found = {}
        for name, at, _ in chunks(source, 12, "<"):
            found[name] = at
            if name == b"data":
                break
    else:
        for leaves in avi_tracks(source) if head[:4] == b"RIFF" and head[8:] == b"AVI " else ():
            if source.at(leaves.get(b"strh", -1), 4) == b"auds" and b"strf" in leaves:
                yield leaves[b"strf"], None
        return
    if b"fmt " in found:
        yield found[b"fmt "], found.get(b"data")


def _wave_changes(source: ByteSource, at: int, data: int | None) -> dict[int, bytes]:
    form = source.at(at, 40)
    if len(form) < 16:
        return {}
    tag, channels, align, bits = (
        int.from_bytes(form[place : place + 2], "little") for place in (0, 2, 12, 14)
    )
    is_extensible = tag == _EXTENSIBLE and len(form) == 40
    if is_extensible:
        tag = int.from_bytes(form[24:26], "little")
        bits = int.from_bytes(form[18:20], "little") or bits
    size = _larger_size(bits, align, channels)
    if tag not in _PLAIN or not size:
        return {}
    if not is_extensible and data is not None:
        is_upper = _is_upper(source, data, size, "little")
        if is_upper is None and ((bits + 7) // 8 * 8, size) == _FLOAT_24:
            return {}
    whole = (8 * size).to_bytes(2, "little")
    return {at + 14: whole, at + 18: whole} if is_extensible else {at + 14: whole}


def _caf_changes(source: ByteSource) -> dict[int, bytes]:
    found = {name: at for name, at, _ in caf_chunks(source)}
    form = source.at(found.get(b"desc", -1), 32)
    if form[8:12] != b"lpcm" or len(form) < 32 or b"data" not in found:
        return {}
    flags, align, _, channels, bits = (
        int.from_bytes(form[place : place + 4], "big") for place in range(12, 32, 4)
    )
    size = _larger_size(bits, align, channels)
    if not size:
        return {}
    _is_upper(source, found[b"data"] + 4, size, "little" if flags & 2 else "big")
    return {found[b"desc"] + 28: (8 * size).to_bytes(4, "big")}


def _mov_changes(source: ByteSource) -> dict[int, bytes]:
    changes: dict[int, bytes] = {}
    for start, _ in boxes_at(source, _DESCRIPTIONS, 0, source.size):
        form = source.at(start + 8, 72)  # of the first description; others are rare
        if form[4:8] != b"lpcm" or form[16:18] != b"\0\2" or len(form) < 72:
            continue
        channels, bits, flags, align = (
            int.from_bytes(form[place : place + 4], "big") for place in (48, 56, 60, 64)
        )
        if size := _larger_size(bits, align, channels):
            if not flags & _UPPER:
                raise _lower_bits(size)
            changes[start + 8 + 56] = (8 * size).to_bytes(4, "big")
    return changes


def _larger_size(bits: int, align: int, channels: int) -> int:
    """Return the bytes of a sample if they are more than its bits need; otherwise 0."""
    if not bits or not channels or align % channels:
        return 0
    size = align // channels
    return size if size in _SIZES and (bits + 7) // 8 < size else 0


def _is_upper(source: ByteSource, start: int, size: int, order: str) -> bool | None:
    """Return True if the bits stand at the upper end, None if all bits are used.

    Raises:
        SeparationFailed: ``ResourceNotSupported``: they stand at the lower end.
    """
    step = (source.size - start) // 2 // size * size
    spots = b""
    for place in (start, start + step, start + max(2 * step - _SPOT_BYTES // size * size, 0)):
        data = source.at(place, _SPOT_BYTES // size * size)
        spots += data[: len(data) // size * size]
    lowest, highest = (spots[0::size], spots[size - 1 :: size])
    if order == "big":
        lowest, highest = highest, lowest
    if not lowest.strip(b"\0"):
        return True
    if not highest.strip(_SIGNS):
        raise _lower_bits(size)
    return None


def _lower_bits(size: int) -> SeparationFailed:
    return SeparationFailed(
        RESOURCE_NOT_SUPPORTED,
        f"The samples of the input use the lower bits of {size} bytes each, which cannot be read "
        "here; convert it, for example to flac.",
    )
