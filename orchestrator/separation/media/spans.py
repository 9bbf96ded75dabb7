"""The parts of a file that are read by themselves: joined mp3 files, chained Ogg files, edits.

Each part is opened by itself, so that its own header, encoder delay and format apply, and what
stands before, between and behind the parts (tags, pictures, padding) is never decoded.

FFmpeg honours an edit list of one part after a silence, to the packet. It repeats the beginning of
the sound in place of a silence behind it, and moves parts that begin or end within a packet. So a
list of several parts is followed here, and each part is read by itself.

Source: ISO/IEC 14496-12, section 8.6.6 (edit lists).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.domain.wording import counted
from orchestrator.separation.media.boxes import boxes_at, voc_blocks
from orchestrator.separation.media.byte_source import ByteSource, byte_source
from orchestrator.separation.media.mpeg_audio import Run, runs_of
from orchestrator.separation.media.ogg_pages import Stream, links_of
from orchestrator.separation.media.transport_streams import packet_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.stream import AudioStream

    from orchestrator.separation.media.byte_source import ByteSource


_NO_END: Final = (
    "The sound has no mark of its end, as {kind} files have that are complete; the end may be "
    "missing."
)
_LOST_ALLOWED: Final = 0.01
"""Share of pages that may be lost."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file that are a media file.

    Attributes:
        start: Position of the first byte.
        end: Position behind the last byte.
        container: FFmpeg's name of the container.
        stated_s: Length that its own header states, or None.
        found_s: Length that is present, as far as the bytes show it.
        is_broken: Something within it is damaged.
        fault: A sentence if bytes of it are lost; empty otherwise.
        note: A sentence for the user; empty if there is nothing to say.
        edit: The part of the sound that an edit list plays; None: all.
        end_s: Where the sound ends on its time line by an edit list; None: at its last packet.
    """

    start: int
    end: int
    container: str
    stated_s: float | None = None
    found_s: float | None = None
    is_broken: bool = False
    fault: str = ""
    note: str = ""
    edit: Edit | None = None
    end_s: float | None = None


def spans_of(path: Path, container: str, track: AudioStream) -> list[Span]:
    """Return the parts of a file; none if it is one file that FFmpeg reads as it is.

    Args:
        path: The file.
        container: FFmpeg's name of the container.
        track: The track that is read.
    """
    if "mp4" in container.split(",") and track.frames:
        with byte_source(path) as source:
            return _edited(source, track.id)
    readers = {"mp3": _mp3, "ogg": _ogg, "au": _au, "mpegts": _mpegts, "voc": _voc}
    if container not in readers:
        return []
    with byte_source(path) as source:
        return readers[container](source)


def _au(source: ByteSource) -> list[Span]:
    """Return the sound by the header; FFmpeg would read what follows as sound, too."""
    start, size = source.number(4, 4), source.number(8, 4)
    return [Span(0, start + size, "au")] if 0 < size < source.size - start else []


def _mpegts(source: ByteSource) -> list[Span]:
    """Return the stream without zeros behind it, at which FFmpeg stops with an error."""
    _, size = packet_bytes(source)
    end = -(-source.last_content() // size) * size
    return [Span(0, end, "mpegts")] if end < source.size else []


def _voc(source: ByteSource) -> list[Span]:
    """Return the sound with a note if the mark of the end is missing."""
    if not all(kind for kind, _, _ in voc_blocks(source)):
        return []
    return [Span(0, source.size, "voc", note=_NO_END.format(kind="VOC"))]


def _edited(source: ByteSource, track_id: int) -> list[Span]:
    """Return the parts that the edit list of an mp4 file plays."""
    found = edit_list(source, track_id)
    if found is None:
        return []
    if found.is_simple:
        end_s = found.early_end_s
        return [] if end_s is None else [Span(0, source.size, "mov", end_s=end_s)]
    parts = found.parts
    fault = note = ""
    if len(parts) > _MOST_EDITS:
        fault = (
            f"The edit list of the input has {len(parts):,} parts, and at most {_MOST_EDITS:,} can "
            "be followed; export it again, so that it is one sound."
        )
    if len(parts) > 1:
        sounds = [part for part in parts if part.start_s is not None]
        silence_s = sum(part.length_s for part in parts if part.start_s is None)
        silence = f" and {silence_s:.2f} s of silence" if silence_s else ""
        note = (
            f"The edit list of the input plays {counted(len(sounds), 'part')} of its sound"
            f"{silence}; they are one sound here."
        )
    return [Span(0, source.size, "mov", fault=fault, note=note, edit=part) for part in parts]


def _mp3(source: ByteSource) -> list[Span]:
    runs = runs_of(source)
    kept = runs[:1] + [run for run in runs[1:] if run.is_sure]
    return [_mp3_span(run) for run in kept]


def _mp3_span(run: Run) -> Span:
    """Return a sound; damage counts as lost sound where no header states the length."""
    stated_s, note = run.stated_s, ""
    if run.gaps:
        stated_s = run.found_s + run.lost_s if stated_s is None else stated_s
        note = (
            f"{counted(run.gaps, 'damaged place')} within the sound had to be left out (about "
            f"{run.lost_s:.2f} s, by its bytes)."
        )
    return Span(run.start, run.end, "mp3", stated_s, run.found_s, run.gaps > 0, note=note)


def _ogg(source: ByteSource) -> list[Span]:
    links = [link for link in links_of(source) if link.has_sound]
    spans = []
    for link in links:
        sounds = [stream for stream in link.streams.values() if stream.is_audio]
        fault = _loss(sounds)
        if not fault and link.is_cut and not all(stream.has_end for stream in sounds):
            fault = (
                "The input is cut off: its last Ogg page is not complete, and the mark of the end "
                "is missing; upload it again."
            )
        note = ""
        if not all(stream.has_end for stream in sounds):
            note = _NO_END.format(kind="Ogg")
        spans.append(Span(link.start, link.end, "ogg", fault=fault, note=note))
    return spans


def _loss(sounds: list[Stream]) -> str:
    for stream in sounds:
        all_pages = stream.pages + stream.lost
        if stream.lost > _LOST_ALLOWED * all_pages:
            return (
                f"The input is damaged: {stream.lost} of {all_pages} Ogg pages of its sound are "
                "lost or damaged; upload it again."
            )
    return ""


_MOST_EDITS: Final = 1000
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
