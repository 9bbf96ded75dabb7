"""The verdict on a file that was read: whole, cut off, damaged, or followed by a second file.

Cut off means that the last of the sound is missing: by the bytes that the container or its index
states, or else by the last time stamp. The sum of the samples counts only where nothing else can:
encoder delay, edit lists and holes change it.

Bare AAC and AMR streams, transport streams, and mp3 without a header state no length, so a missing
end cannot be detected there.

Of some kinds of files that were joined byte by byte, FFmpeg reads the first one only. The parts of
such a container are followed to its end; another file of its kind may begin there. Joined mp3, Ogg,
Matroska, avi, transport and program streams are read as one sound elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.domain.wording import counted
from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed
from orchestrator.separation.media.boxes import (
    MOST_PARTS,
    boxes,
    caf_chunks,
    chunks,
    voc_blocks,
    w64_chunks,
)
from orchestrator.separation.media.transport_streams import end_of_packets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.separation.media.byte_source import ByteSource
    from orchestrator.separation.media.reader import Reader
    from orchestrator.separation.media.spans import Edit, Span
    from orchestrator.separation.media.stated_length import Stated


_STATES_SAMPLES: Final = frozenset(("flac", "tta", "wv", "ape", "tak", "mpc", "mpc8"))
"""Containers with the number of samples in the header, and nothing but sound behind it."""
_STATES_LENGTH: Final = frozenset(("mxf", "rm"))
"""Containers whose length FFmpeg takes from the header, and which are judged by that alone."""
_READ_UP_TO_DAMAGE: Final = frozenset(
    ("flv", "mpegts", "mpeg", "aac", "ac3", "eac3", "dts", "loas")
)
"""Containers that FFmpeg reads up to the last usable packet without an error, and that have nothing
behind their packets."""
_MAY_HAVE_MORE: Final = frozenset(("matroska", "asf"))
"""The same for containers that have indexes and attachments there, and state a length."""
_UNREAD_ALLOWED: Final = 0.1
"""Share of the bytes of such a file that may stand behind its last packet, or be damaged."""
_MISSING_ALLOWED_S: Final = 0.25
_MISSING_ALLOWED_SHARE: Final = 0.005
"""Allowance at the end: some headers include encoder delay and padding, or are rounded."""
_DAMAGE_ALLOWED: Final = 3
"""Packets that may fail: garbage around the frames of an mp3 is common and harmless."""
_DAMAGE_ALLOWED_SHARE: Final = 0.01


def refuse_incomplete(
    reader: Reader, stated: Stated, span: Span | None, length_s: float, source: ByteSource
) -> None:
    """Raise an error unless the part that was read is whole.

    Args:
        reader: The reader of the part, at its end.
        stated: What the container states.
        span: The part, or None if it is the whole file.
        length_s: Length of the part's time line.
        source: The file.

    Raises:
        SeparationFailed: ``ResourceNotSupported``.
    """
    if reader.damaged > max(_DAMAGE_ALLOWED, _DAMAGE_ALLOWED_SHARE * reader.packets):
        raise _failed(
            f"The input is damaged: {reader.damaged} of {counted(reader.packets, 'packet')} of its "
            "sound could not be decoded; upload it again."
        )
    if span is not None and span.edit is not None:
        _refuse_edit(reader, span.edit, length_s, source.size)
    elif span is not None and span.stated_s is not None and span.found_s is not None:
        _refuse_shorter(span.stated_s, span.found_s, span.found_s, is_broken=span.is_broken)
        if span.found_s - reader.sound_s > 2 * _allowed_s(span.found_s):
            raise _damaged(span.found_s, reader.sound_s)
    elif reader.container_name in _STATES_SAMPLES and reader.stated_s is not None:
        _refuse_shorter(reader.stated_s, reader.sound_s, reader.sound_s)
        if fault := _fault_behind(source, reader.container_name, reader.last_byte):
            raise _failed(fault)
    elif stated.is_sound_only and stated.sound_bytes and stated.present_bytes:
        # A share of the bytes is the same share of the sound.
        whole_s = length_s * stated.sound_bytes / stated.present_bytes
        _refuse_shorter(whole_s, length_s, length_s)
        _refuse_unread(reader, stated, length_s, source)
    else:
        _refuse_cut(reader, stated, length_s, source.size)
        _refuse_holes(reader, stated)
        _refuse_unread(reader, stated, length_s, source)
    if reader.damaged_bytes > _UNREAD_ALLOWED * source.size:
        raise _failed(
            f"The input is damaged: {reader.damaged_bytes:,} bytes of its sound could not be "
            "decoded; upload it again."
        )


def _refuse_edit(reader: Reader, edit: Edit, length_s: float, size_bytes: int) -> None:
    """Judge a part of a track by its edit; an edit may end behind the sound."""
    _, index_end = reader.index_end
    if index_end > size_bytes:
        raise _cut_off(reader.stated_s, length_s)
    whole_s = min(edit.end_s, reader.stated_s or 0.0) - (edit.start_s or 0.0)
    if whole_s - length_s > _allowed_s(whole_s):
        raise _damaged(whole_s, length_s)


def _refuse_holes(reader: Reader, stated: Stated) -> None:
    """Refuse an avi file with damage in its middle, behind which FFmpeg finds the next packet."""
    lost_bytes = reader.index_bytes - reader.packet_bytes
    lost_packets = reader.packets * lost_bytes / max(reader.packet_bytes, 1)
    if lost_packets > _damage_allowed(reader.packets):
        raise _failed(
            f"The input is damaged: {lost_bytes:,} bytes of its sound, which stand in its index, "
            "cannot be found; upload it again."
        )
    if len(stated.tracks_s) > reader.track.index:
        whole_s = stated.tracks_s[reader.track.index] or 0.0
        found_s = max(reader.sound_s, reader.last_end_s or 0.0)
        if whole_s - found_s > _allowed_s(whole_s):
            raise _damaged(whole_s, found_s)


def _refuse_unread(reader: Reader, stated: Stated, length_s: float, source: ByteSource) -> None:
    """Refuse a file that could not be read to its end, unless only padding is left."""
    followed = end_of_packets(source, reader.container_name, reader.last_start)
    last_byte = max(reader.last_byte, followed)
    if source.is_blank(last_byte):
        return
    is_much = source.size - last_byte > _UNREAD_ALLOWED * source.size
    is_short = reader.container_name in _MAY_HAVE_MORE and not _reaches(reader, stated.length_s)
    if is_much and (is_short or reader.container_name in _READ_UP_TO_DAMAGE):
        raise _failed(
            f"The input is damaged, or joined from several files: only {length_s:.1f} s of sound "
            "can be reached; upload it again, or its parts one by one."
        )
    if reader.stopped and not _is_at_end(reader, stated):
        raise _failed(
            f"The input is damaged: it could be read for {length_s:.1f} s only, and not to its "
            "end; upload it again."
        )


def _refuse_cut(reader: Reader, stated: Stated, length_s: float, size_bytes: int) -> None:
    """Judge containers of several tracks: by bytes, and by the last time stamp."""
    entries, index_end = reader.index_end
    if entries:
        if index_end > size_bytes or reader.packets < entries - _damage_allowed(entries):
            raise _cut_off(reader.stated_s, length_s)
        return
    whole_s = stated.length_s
    if whole_s is None and reader.container_name in _STATES_LENGTH:
        whole_s = reader.stated_s
    if stated.sound_bytes and not stated.missing_bytes:
        return
    if whole_s is None:
        if stated.missing_bytes:
            raise _failed(
                f"The input is cut off: it states {stated.sound_bytes:,} bytes of sound and "
                f"picture, but only {stated.present_bytes:,} are present; upload it again."
            )
        return
    if not _reaches(reader, whole_s):
        raise _cut_off(whole_s, length_s)


def _is_at_end(reader: Reader, stated: Stated) -> bool:
    """Return True if reading stopped behind the last of the sound."""
    entries, _ = reader.index_end
    if entries:
        return reader.packets >= entries
    return stated.length_s is not None and _reaches(reader, stated.length_s)


def _reaches(reader: Reader, whole_s: float | None) -> bool:
    """Return True if the last time stamp reaches the stated length, or none is stated."""
    if whole_s is None:
        return True
    return (reader.last_end_of_all_s or 0.0) >= whole_s - _allowed_s(whole_s)


def _refuse_shorter(
    stated_s: float, found_s: float, length_s: float, *, is_broken: bool = False
) -> None:
    if stated_s - found_s <= _allowed_s(stated_s):
        return
    if is_broken:
        raise _damaged(stated_s, found_s)
    raise _cut_off(stated_s, length_s)


def _allowed_s(stated_s: float) -> float:
    return max(_MISSING_ALLOWED_S, _MISSING_ALLOWED_SHARE * stated_s)


def _damage_allowed(packets: int) -> float:
    return max(_DAMAGE_ALLOWED, _DAMAGE_ALLOWED_SHARE * packets)


def _cut_off(stated_s: float | None, length_s: float) -> SeparationFailed:
    if stated_s is None:
        return _failed(
            f"The input is cut off: only {length_s:.1f} s of its sound are present; "
            "upload it again."
        )
    return _failed(
        f"The input is cut off: its header states {stated_s:.1f} s of sound, but only "
        f"{length_s:.1f} s are present; upload it again."
    )


def _damaged(stated_s: float, found_s: float) -> SeparationFailed:
    return _failed(
        f"The input is damaged: it should have {stated_s:.1f} s of sound, but only "
        f"{found_s:.1f} s can be read; upload it again."
    )


def _failed(message: str) -> SeparationFailed:
    return SeparationFailed(RESOURCE_NOT_SUPPORTED, message)


_SEARCHED_BYTES: Final = 1 << 24
"""Bytes behind the sound in which another file may begin; tags and covers stand between."""
_ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_RM_AROUND, _RM_SMALLEST = 32, 10
_VOC: Final = b"Creative Voice File"
_SIGNATURES: Final = {"wv": (b"wvpk", 9, 4), "tta": (b"TTA1", 5, 0)}
"""Signature of a part of a file by its container, and the place and the value of a byte in it."""


def joined_fault(source: ByteSource, container: str) -> str:
    """Return a sentence if a second file follows within a file; empty otherwise."""
    search = _SEARCHES.get(container.split(",", maxsplit=1)[0])
    position = search(source) if search is not None else None
    return "" if position is None else _sentence(position)


def _fault_behind(source: ByteSource, container: str, position: int) -> str:
    """Return the same for a container without an end of its own.

    Args:
        source: The file.
        container: FFmpeg's name of the container.
        position: Position behind the last packet that was read.
    """
    if container not in _SIGNATURES:
        return ""
    signature, place, value = _SIGNATURES[container]
    rest = source.at(position, _SEARCHED_BYTES)
    at = rest.find(signature)
    while at >= 0:
        if rest[at + place : at + place + 1] == bytes([value]):
            return _sentence(position + at)
        at = rest.find(signature, at + 1)
    return ""


def _sentence(position: int) -> str:
    return (
        f"The input holds several files that were joined: another one begins at byte "
        f"{position:,}, and only the first could be read. Separate them one by one, or join them "
        "with a program for sound."
    )


def _second(
    parts: Iterable[tuple[bytes, int, int]], beginning: bytes, sound: bytes, header: int
) -> int | None:
    """Return where a part is the beginning of a file, or a second part with sound."""
    has_sound = False
    for name, at, _ in parts:
        if name == beginning or (name == sound and has_sound):
            return at - header
        has_sound = has_sound or name == sound
    return None


def _wave(source: ByteSource) -> int | None:
    head = source.at(0, 4)
    # The others state 64-bit sizes elsewhere.
    return _second(chunks(source, 12, "<"), b"RIFF", b"data", 8) if head == b"RIFF" else None


def _aiff(source: ByteSource) -> int | None:
    return _second(chunks(source, 12, ">"), b"FORM", b"SSND", 8)


def _w64(source: ByteSource) -> int | None:
    return _second(w64_chunks(source), b"riff", b"data", 24)


def _caf(source: ByteSource) -> int | None:
    return _second(caf_chunks(source), b"caff", b"data", 12)


def _au(source: ByteSource) -> int | None:
    end = source.number(4, 4) + source.number(8, 4)
    return end if source.at(end, 4) == b".snd" else None


def _voc(source: ByteSource) -> int | None:
    ends = [at for kind, at, _ in voc_blocks(source) if not kind]
    return ends[0] if ends and source.at(ends[0], len(_VOC)) == _VOC else None


def _mp4(source: ByteSource) -> int | None:
    names = [(name, at - 8) for name, at, _ in boxes(source, 0, source.size)]
    indexes = [at for name, at in names if name == b"moov"]
    # A fragmented film may repeat its header; FFmpeg reads on.
    if len(indexes) < 2 or any(name == b"moof" for name, _ in names):
        return None
    starts = [at for name, at in names if name == b"ftyp" and at]
    return starts[0] if starts else indexes[1]


def _asf(source: ByteSource) -> int | None:
    return _second(_objects(source), _ASF_HEADER, b"", 24)


def _objects(source: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Yield the objects of an asf file behind the first one."""
    position = source.number(16, 8, "little")
    for _ in range(MOST_PARTS):
        head = source.at(position, 24)
        size = int.from_bytes(head[16:], "little")
        if len(head) < 24 or size < 24:
            return
        yield head[:16], position + 24, size
        position += size


def _rm(source: ByteSource) -> int | None:
    position = source.number(4, 4)
    for _ in range(MOST_PARTS):
        # Some writers state a size of the sound that is a little too large.
        around = source.at(position - _RM_AROUND, 2 * _RM_AROUND)
        if position > _RM_AROUND and b".RMF\0" in around:
            return position - _RM_AROUND + around.find(b".RMF\0")
        size = source.number(position + 4, 4)
        if size < _RM_SMALLEST:
            return None
        position += size
    return None


_SEARCHES: Final[dict[str, Callable[[ByteSource], int | None]]] = {
    "wav": _wave,
    "aiff": _aiff,
    "w64": _w64,
    "caf": _caf,
    "au": _au,
    "voc": _voc,
    "mov": _mp4,
    "asf": _asf,
    "rm": _rm,
}


def notes_on_damage(readers: Iterable[Reader]) -> list[str]:
    """Return a sentence about packets whose checksums are wrong, of a file with few of them."""
    damaged = sum(reader.damaged for reader in readers if reader.has_checksums)
    if not damaged:
        return []
    return [f"{counted(damaged, 'damaged packet')} of the sound had to be left out."]
