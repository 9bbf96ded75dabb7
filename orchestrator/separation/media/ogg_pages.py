"""Pages of an Ogg file: its links, and the pages that are lost, damaged or cut.

Every page carries a checksum, a number and a position, so a loss cannot hide. Files may be joined
to a chain of links, each with streams of its own (RFC 3533). FFmpeg reads a chain only while the
format stays the same, so each link is read as a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import fastcrc

if TYPE_CHECKING:
    from orchestrator.separation.media.byte_source import ByteSource

_HEADER_BYTES: Final = 27
_LONGEST_PAGE_BYTES: Final = _HEADER_BYTES + 255 + 255 * 255
_MOST_DAMAGED: Final = 1000
"""Damaged pages after which the rest of the file is not searched."""
_BOS, _EOS = 2, 4
_AUDIO: Final = (
    b"\x01vorbis",
    b"OpusHead",
    b"\x7fFLAC",
    b"Speex   ",
    b"PCM     ",
    b"CELT    ",
)
"""First bytes of an audio stream."""


@dataclass(slots=True)
class Stream:
    """One logical stream of a link.

    Attributes:
        is_audio: It carries sound.
        pages: Pages that are present and whole.
        lost: Pages that are missing or damaged.
        has_end: Its last page says that it is the last.
    """

    is_audio: bool
    pages: int = 0
    lost: int = 0
    has_end: bool = False
    _next_number: int = 0
    _has_sound: bool = False
    _faults: int = 0

    def add(self, number: int, granule: int, flags: int, faults: int) -> None:
        """Count a page that is whole.

        Args:
            number: Its number.
            granule: Its position in the sound.
            flags: Its flags.
            faults: Damaged places of the link up to here.
        """
        # A recording may begin in the middle of a stream: between the headers and the first sound
        # a gap in the numbers is normal, unless something stands in it.
        if self._has_sound or faults > self._faults:
            self.lost += max(number - self._next_number, 0)
        self._has_sound = self._has_sound or granule > 0
        self._next_number = number + 1
        self._faults = faults
        self.pages += 1
        self.has_end = self.has_end or bool(flags & _EOS)


@dataclass(slots=True)
class Link:
    """A link of the chain.

    Attributes:
        start: Position of its first page.
        end: Position behind its last page.
        is_cut: Its last page is not complete, or damaged.
        faults: Damaged places in it.
        streams: Its logical streams by serial number.
    """

    start: int
    end: int
    is_cut: bool = False
    faults: int = 0
    streams: dict[int, Stream] = field(default_factory=dict)

    @property
    def has_sound(self) -> bool:
        """True if one of its streams is sound."""
        return any(stream.is_audio for stream in self.streams.values())


def links_of(source: ByteSource) -> list[Link]:
    """Return the links of an Ogg file."""
    links: list[Link] = []
    in_headers = False
    position = damaged = 0
    while (found := _page_at(source, position)) is not None:
        is_apart = found[0] > position
        position, page, is_whole = found
        link = links[-1] if links else None
        damaged += not is_whole
        if damaged > _MOST_DAMAGED:
            break
        flags, serial = page[5], int.from_bytes(page[14:18], "little")
        begins = bool(flags & _BOS) and is_whole
        if begins and not in_headers:
            link = Link(position, position)
            links.append(link)
        in_headers = begins
        if link is None:  # the first page is damaged
            link = Link(position, position)
            links.append(link)
        link.faults += is_apart or not is_whole
        if is_whole:
            body = page[_HEADER_BYTES + page[26] :]
            if serial not in link.streams:
                link.streams[serial] = Stream(body.startswith(_AUDIO))
            number = int.from_bytes(page[18:22], "little")
            granule = int.from_bytes(page[6:14], "little", signed=True)
            link.streams[serial].add(number, granule, flags, link.faults)
        link.is_cut = not is_whole
        # Behind a damaged page, the next one is searched from its second byte on.
        position += len(page) if is_whole else 1
        link.end = position
    if links:
        links[-1].end = source.size
    return links


def _page_at(source: ByteSource, position: int) -> tuple[int, bytes, bool] | None:
    """Return the next page: its position, its bytes, and True if it is whole; None at the end."""
    while position < source.size:
        data = source.at(position, _LONGEST_PAGE_BYTES)
        at = data.find(b"OggS")
        if at < 0:
            position += max(len(data) - 3, 1)
            continue
        if at:
            position += at
            data = source.at(position, _LONGEST_PAGE_BYTES)
        page = data[: _stated_bytes(data)]
        return position, page, len(page) == _stated_bytes(data) and _checks(page)
    return None


def _stated_bytes(data: bytes) -> int:
    """Return the size of the page by its header."""
    if len(data) < _HEADER_BYTES:
        return _HEADER_BYTES
    count = data[26]
    return _HEADER_BYTES + count + sum(data[_HEADER_BYTES : _HEADER_BYTES + count])


def _checks(page: bytes) -> bool:
    """Return True if the checksum is right."""
    if len(page) < _HEADER_BYTES:
        return False
    blank = page[:22] + b"\0\0\0\0" + page[26:]
    return fastcrc.crc32.cksum(blank) ^ 0xFFFFFFFF == int.from_bytes(page[22:26], "little")
