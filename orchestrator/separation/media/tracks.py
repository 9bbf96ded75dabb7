"""The choice of the audio track: the best one that can be decoded and is not encrypted.

FFmpeg decodes encrypted sound all the same, to noise.

Sources: ISO/IEC 14496-12 (protected sample entries), RFC 9559 (content encodings of Matroska),
ISO/IEC 13818-1 (scrambling control of transport streams).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import av
from av.stream import Disposition

from orchestrator.domain.wording import counted
from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed
from orchestrator.separation.media.boxes import boxes_at, elements
from orchestrator.separation.media.byte_source import byte_source
from orchestrator.separation.media.container import has_decoder, open_media
from orchestrator.separation.media.refused_kinds import encrypted
from orchestrator.separation.media.transport_streams import scrambled_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from orchestrator.separation.media.byte_source import ByteSource
    from orchestrator.separation.media.spans import Span


_NOT_MAIN: Final = (
    (Disposition.comment, "a commentary"),
    (Disposition.visual_impaired, "a description for the blind"),
    (Disposition.descriptions, "a description"),
    (Disposition.hearing_impaired, "a version for the hearing impaired"),
    (Disposition.karaoke, "a karaoke version"),
)
_TRIAL_PACKETS: Final = 50
"""Packets of a track that may fail before it counts as one that cannot be decoded."""


def choose_track(
    path: Path, container: InputContainer, span: Span | None = None
) -> tuple[AudioStream, str]:
    """Return the track to separate, and a sentence about the choice; empty if there was none.

    Order: tracks that can be decoded; those that are not flagged as commentary, description or for
    the hearing impaired; the default flag; channels; bitrate; the first.

    Args:
        path: The file.
        container: The same, opened.
        span: The part of it that is open; None: all.

    Raises:
        SeparationFailed: ``ResourceNotSupported``: no track can be decoded.
    """
    tracks = container.streams.audio
    if not tracks:
        has_picture = any(not is_still(stream) for stream in container.streams.video)
        found = "pictures only" if has_picture or container.streams.video else "no audio track"
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED, f"The input has {found}; there is nothing to separate."
        )
    faults = _faults(path, container, span)
    chosen = max(
        tracks,
        key=lambda track: (track.index not in faults, not _flags(track), *_quality(track)),
    )
    if chosen.index in faults:
        raise SeparationFailed(RESOURCE_NOT_SUPPORTED, faults[chosen.index])
    return chosen, _choice(chosen, tracks, faults) if len(tracks) > 1 else ""


def _quality(track: AudioStream) -> tuple[bool, int, int, int]:
    """Return what makes a track better than another one that can be decoded, too."""
    is_default = bool(track.disposition & Disposition.default)
    if not has_decoder(track):
        return is_default, 0, 0, -track.index
    codec = track.codec_context
    stated = str(track.metadata.get("BPS", ""))  # as Matroska's writers add it
    bit_rate = codec.bit_rate or (int(stated) if stated.isdecimal() else 0)
    return is_default, codec.channels, bit_rate, -track.index


def is_still(stream: av.VideoStream) -> bool:
    """Return True if a video track is a cover or another still picture without a time."""
    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return bool(stream.disposition & still)


def _faults(path: Path, container: InputContainer, span: Span | None) -> dict[int, str]:
    """Return the reason for each track that cannot be decoded."""
    tracks = container.streams.audio
    faults: dict[int, str] = {}
    with byte_source(path) as source:
        locked = _protected_tracks(source, container.format.name, tracks)
    for track in tracks:
        if track.index in locked:
            faults[track.index] = encrypted(locked[track.index])
        elif not has_decoder(track):
            faults[track.index] = (
                "The codec of the input's sound is not supported here; convert it, for example "
                "to flac or m4a."
            )
        elif len(tracks) > 1 and not _decodes(path, span, track.index):
            faults[track.index] = "The sound of the input could not be decoded; upload it again."
    return faults


def _decodes(path: Path, span: Span | None, index: int) -> bool:
    """Return True if one of a track's first packets can be decoded."""
    try:
        with open_media(path, span) as container:
            track = container.streams[index]
            if not isinstance(track, av.AudioStream):
                return False
            for number, packet in enumerate(container.demux(track)):
                if number >= _TRIAL_PACKETS:
                    break
                try:
                    if track.decode(packet):
                        return True
                except av.FFmpegError:
                    continue
    except (av.FFmpegError, SeparationFailed):
        return False
    return False


def _flags(track: AudioStream) -> list[str]:
    return [name for flag, name in _NOT_MAIN if track.disposition & flag]


def _choice(chosen: AudioStream, tracks: tuple[AudioStream, ...], faults: dict[int, str]) -> str:
    """Say which track was taken, and why the others were not where there is a reason."""
    passed = []
    for number, track in enumerate(tracks, 1):
        if track is chosen:
            continue
        if track.index in faults:
            passed.append(f"track {number} cannot be decoded")
        elif flags := _flags(track):
            passed.append(f"track {number} is {flags[0]}")
    number = 1 + tracks.index(chosen)
    codec = chosen.codec_context
    language = chosen.language
    facts = [codec.codec.canonical_name, counted(codec.channels, "channel")]
    if language and language != "und":
        facts.append(f"language {language}")
    reason = f" ({', '.join(passed)})" if passed else ""
    return (
        f"Of {len(tracks)} audio tracks, track {number} was separated: {', '.join(facts)}{reason}."
    )


_ENCRYPTED: Final = (b"enca", b"drms", b"aavd", b"drmi")
_SEGMENT, _TRACKS, _ENTRY, _TYPE = 0x18538067, 0x1654AE6B, 0xAE, 0x83
_ENCODINGS, _ENCODING, _ENCODING_TYPE, _ENCRYPTION = 0x6D80, 0x6240, 0x5033, 0x5035
_CLUSTER: Final = 0x1F43B675
_SOUND: Final = 2
_SCRAMBLED_ALLOWED: Final = 0.01
"""Share of packets that may seem to be scrambled; damage sets any bits."""


def _protected_tracks(
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
