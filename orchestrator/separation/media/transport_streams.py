"""Packets of transport and program streams: how far they reach, and if they are scrambled.

FFmpeg states a position for some of the packets that it reads, and only where they begin. So the
streams are followed here from such a position on, by the marks and lengths of their own packets.

Sources: ISO/IEC 13818-1 (both streams), ISO/IEC 11172-1 (program streams of MPEG-1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from orchestrator.separation.media.byte_source import ByteSource

_MARK: Final = b"G"
_SCRAMBLED, _HAS_CONTENT = 0xC0, 0x10
"""Bits of the fourth byte of a packet of a transport stream."""
_PACKET_BYTES: Final = (188, 192, 204)
"""Packets of a transport stream: plain, with a time code in front, with a checksum behind."""
_BLOCK_PACKETS: Final = 5000
_PREFIX: Final = b"\0\0\1"
_END, _PACK, _FIRST_PACKET = 0xB9, 0xBA, 0xBB
"""Codes of a program stream: its end, a pack header, and the first one that states its length."""


def packet_bytes(source: ByteSource, position: int = 0) -> tuple[int, int]:
    """Return the position of a mark at or behind ``position``, and the size of a packet."""
    head = source.at(position, 2 * _PACKET_BYTES[-1])
    for size in _PACKET_BYTES:
        for at in range(size):
            if head[at : at + 1] == head[at + size : at + size + 1] == _MARK:
                return position + at, size
    return position + max(head.find(_MARK), 0), _PACKET_BYTES[0]


def end_of_packets(source: ByteSource, container: str, position: int) -> int:
    """Return how far well-formed packets follow each other from a packet on.

    Args:
        source: The file.
        container: FFmpeg's name of the container; others than the two streams have no such end.
        position: Position of the packet.
    """
    if container == "mpegts":
        return _end_of_transport(source, position)
    if container == "mpeg":
        return _end_of_program(source, position)
    return position


def scrambled_share(source: ByteSource, track: int) -> float:
    """Return the share of scrambled packets of a track of a transport stream, by three spots."""
    packets = scrambled = 0
    _, size = packet_bytes(source)
    for place in (0, source.size // 2, source.size - _BLOCK_PACKETS * size):
        start, _ = packet_bytes(source, max(place, 0))
        data = source.at(start, _BLOCK_PACKETS * size)
        heads = np.frombuffer(data[: len(data) // size * size], np.uint8).reshape(-1, size)
        numbers = (heads[:, 1].astype(int) & 0x1F) << 8 | heads[:, 2]
        control = heads[(heads[:, 0] == _MARK[0]) & (numbers == track), 3]
        control = control[control & _HAS_CONTENT > 0]
        packets += len(control)
        scrambled += int(np.count_nonzero(control & _SCRAMBLED))
    return scrambled / packets if packets else 0.0


def _end_of_transport(source: ByteSource, position: int) -> int:
    _, size = packet_bytes(source)
    while block := source.at(position, _BLOCK_PACKETS * size):
        # The position may be that of a time code, which precedes the mark.
        offset = block[: size - 187].find(_MARK)
        marks = block[max(offset, 0) :: size]
        right = len(marks) - len(marks.lstrip(_MARK))
        position = min(position + right * size, source.size)
        if offset < 0 or right < len(marks):
            break
    return position


def _end_of_program(source: ByteSource, position: int) -> int:
    while True:
        head = source.at(position, 14)
        size = _part_bytes(head)
        if not size:
            return position
        position = min(position + size, source.size)


def _part_bytes(head: bytes) -> int:
    """Return the size of a part of a program stream; 0 if it is not one."""
    if len(head) < 4 or head[:3] != _PREFIX or head[3] < _END:
        return 0
    if head[3] == _END:
        return 4
    if head[3] >= _FIRST_PACKET:
        return 6 + int.from_bytes(head[4:6], "big")
    if len(head) < 14:
        return 0
    return 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
