"""The verdict on a file that was read: whole, cut off or damaged.

Cut off means that the last of the sound is missing: by the bytes that the container or its index
states, or else by the last time stamp. The sum of the samples counts only where nothing else can:
encoder delay, edit lists and holes change it.

Bare AAC and AMR streams, transport streams, and mp3 without a header state no length, so a missing
end cannot be detected there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.domain.wording import counted
from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed
from orchestrator.separation.media.multiplex import end_of_packets
from orchestrator.separation.media.second_file import fault_behind

if TYPE_CHECKING:
    from orchestrator.separation.media.byte_source import ByteSource
    from orchestrator.separation.media.edits import Edit
    from orchestrator.separation.media.reader import Reader
    from orchestrator.separation.media.spans import Span
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
        if fault := fault_behind(source, reader.container_name, reader.last_byte):
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
