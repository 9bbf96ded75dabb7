"""The edit list of a track of an mp4 file: which parts of its sound are played, and when.

FFmpeg honours a list of one part after a silence, to the packet. It repeats the beginning of the
sound in place of a silence behind it, and moves parts that begin or end within a packet. So a list
of several parts is followed here, and each part is read by itself.

Source: ISO/IEC 14496-12, section 8.6.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.separation.media.boxes import boxes_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.separation.media.byte_source import ByteSource

MOST_EDITS: Final = 1000
"""Parts that are followed; each is opened by itself."""
_EMPTY: Final = -1


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of the sound, or a silence.

    Attributes:
        start_s: Where it begins in the track; None: silence.
        length_s: Its length.
    """

    start_s: float | None
    length_s: float

    @property
    def end_s(self) -> float:
        """End of the part in the track; 0 for a silence."""
        return 0.0 if self.start_s is None else self.start_s + self.length_s


@dataclass(frozen=True, slots=True)
class EditList:
    """The edits of a track.

    Attributes:
        edits: The edits in the order in which they are played.
        media_s: Length of all sound of the track.
        tick_s: Unit of the lengths; they are rounded to it.
    """

    edits: tuple[Edit, ...]
    media_s: float
    tick_s: float

    @property
    def is_simple(self) -> bool:
        """True if it is one part, after a silence or not, as FFmpeg reads it."""
        return len(self.edits) - (self.edits[0].start_s is None) == 1 and all(
            edit.length_s for edit in self.edits
        )

    @property
    def early_end_s(self) -> float | None:
        """Return where a simple list ends, if sound is left behind its end; else None."""
        last = self.edits[-1]
        if last.start_s is None or last.end_s + 2 * self.tick_s > self.media_s:
            return None
        return sum(edit.length_s for edit in self.edits) + self.tick_s

    @property
    def parts(self) -> list[Edit]:
        """Return the edits that last; a lone one without a length goes to the end of the sound."""
        parts = [edit for edit in self.edits if edit.length_s]
        if any(edit.start_s is not None for edit in parts):
            return parts
        starts = [edit.start_s for edit in self.edits if edit.start_s is not None]
        return [*parts, *(Edit(start, max(self.media_s - start, 0)) for start in starts[:1])]


def edit_list(source: ByteSource, track_id: int) -> EditList | None:
    """Return the edit list of a track; None without one, or with values that cannot be followed.

    More sound follows in fragments behind the index, so that the lengths in it say nothing.
    """
    if any(boxes_at(source, (b"moov", b"mvex"), 0, source.size)):
        return None
    tick_s = 0.0
    for start, _ in boxes_at(source, (b"moov", b"mvhd"), 0, source.size):
        tick_s = _unit_s(source, start)
    for track, size in boxes_at(source, (b"moov", b"trak"), 0, source.size):
        for start, _ in boxes_at(source, (b"tkhd",), track, track + size):
            if source.number(start + (20 if source.number(start, 1) else 12), 4) == track_id:
                return _edit_list(source, track, size, tick_s)
    return None


def _edit_list(source: ByteSource, track: int, size: int, tick_s: float) -> EditList | None:
    unit_s = media_s = 0.0
    for start, _ in boxes_at(source, (b"mdia", b"mdhd"), track, track + size):
        unit_s = _unit_s(source, start)
        is_long = source.number(start, 1)
        media_s = unit_s * source.number(start + (24 if is_long else 16), 8 if is_long else 4)
    edits: list[Edit] = []
    for start, length in boxes_at(source, (b"edts", b"elst"), track, track + size):
        for units, media, rate in _entries(source.at(start, length)):
            if rate not in {0, 1} or media < _EMPTY:
                return None
            is_silent = media == _EMPTY or not rate
            edits.append(Edit(None if is_silent else media * unit_s, units * tick_s))
    return EditList(tuple(edits), media_s, tick_s) if edits and tick_s and media_s else None


def _entries(box: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield length, start and rate of each entry, in the units of the file."""
    wide = 8 if box[:1] == b"\1" else 4
    size = 2 * wide + 4
    count = int.from_bytes(box[4:8], "big")
    for at in range(8, min(8 + count * size, len(box) - size + 1), size):
        length = int.from_bytes(box[at : at + wide], "big")
        media = int.from_bytes(box[at + wide : at + 2 * wide], "big", signed=True)
        yield length, media, int.from_bytes(box[at + 2 * wide : at + 2 * wide + 2], "big")


def _unit_s(source: ByteSource, header: int) -> float:
    """Return the unit of a ``mvhd`` or ``mdhd`` box."""
    scale = source.number(header + (20 if source.number(header, 1) else 12), 4)
    return 1 / scale if scale else 0.0
