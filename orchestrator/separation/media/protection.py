"""Tracks whose sound is encrypted: FFmpeg decodes them all the same, to noise.

Sources: ISO/IEC 14496-12 (protected sample entries), RFC 9559 (content encodings of Matroska),
ISO/IEC 13818-1 (scrambling control of transport streams).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.separation.media.boxes import boxes_at, elements
from orchestrator.separation.media.multiplex import scrambled_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from av.audio.stream import AudioStream

    from orchestrator.separation.media.byte_source import ByteSource

_ENCRYPTED: Final = (b"enca", b"drms", b"aavd", b"drmi")
_SEGMENT, _TRACKS, _ENTRY, _TYPE = 0x18538067, 0x1654AE6B, 0xAE, 0x83
_ENCODINGS, _ENCODING, _ENCODING_TYPE, _ENCRYPTION = 0x6D80, 0x6240, 0x5033, 0x5035
_CLUSTER: Final = 0x1F43B675
_SOUND: Final = 2
_SCRAMBLED_ALLOWED: Final = 0.01
"""Share of packets that may seem to be scrambled; damage sets any bits."""


def protected_tracks(
    source: ByteSource, container: str, tracks: Sequence[AudioStream]
) -> dict[int, str]:
    """Return what a file is called, by the index of each track whose sound is encrypted.

    Args:
        source: The file.
        container: FFmpeg's name of its container.
        tracks: Its audio tracks.
    """
    names = container.split(",")
    if "mp4" in names:
        return dict.fromkeys(_mp4(source), "an encrypted film or song")
    if "matroska" in names:
        locked = _matroska(source)
        return {
            track.index: "an encrypted Matroska or WebM file"
            for track, is_locked in zip(tracks, locked, strict=False)
            if is_locked
        }
    if "mpegts" in names:
        return {
            track.index: "a scrambled transport stream"
            for track in tracks
            if scrambled_share(source, track.id) > _SCRAMBLED_ALLOWED
        }
    return {}


def _mp4(source: ByteSource) -> Iterator[int]:
    """Yield the numbers, from 0, of the tracks that are encrypted."""
    path = (b"mdia", b"minf", b"stbl", b"stsd")
    tracks = boxes_at(source, (b"moov", b"trak"), 0, source.size)
    for number, (track, size) in enumerate(tracks):
        for start, _ in boxes_at(source, path, track, track + size):
            if source.at(start + 12, 4) in _ENCRYPTED:
                yield number


def _matroska(source: ByteSource) -> list[bool]:
    """Return for each audio track if it is encrypted."""
    locked = []
    for start, end in _elements_at(source, (_SEGMENT, _TRACKS, _ENTRY), 0, source.size):
        kinds = [source.number(at, 1) for at, _ in _elements_at(source, (_TYPE,), start, end)]
        if kinds == [_SOUND]:
            encodings = _elements_at(source, (_ENCODINGS, _ENCODING), start, end)
            locked.append(any(_is_encryption(source, *encoding) for encoding in encodings))
    return locked


def _is_encryption(source: ByteSource, start: int, end: int) -> bool:
    found = {name: source.number(at, size or 0) for name, at, size in elements(source, start, end)}
    return _ENCRYPTION in found or found.get(_ENCODING_TYPE) == 1


def _elements_at(
    source: ByteSource, path: tuple[int, ...], position: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of the contents of the elements at a path."""
    for name, start, size in elements(source, position, end):
        if name == _CLUSTER:  # the tracks stand before the sound
            return
        if name == path[0]:
            stop = end if size is None else min(start + size, end)
            if len(path) == 1:
                yield start, stop
            else:
                yield from _elements_at(source, path[1:], start, stop)
