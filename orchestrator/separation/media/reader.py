"""Read one part of a file: packets to pieces of sound, with what shows if it is whole."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import av
from av.codec.context import Flags2

from orchestrator.separation.media.mixdown import Mixer
from orchestrator.separation.media.timeline import Piece
from orchestrator.separation.media.tracks import is_still

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from orchestrator.separation.media.spans import Span
    from orchestrator.separation.media.stated_length import Stated

_WITH_STAMPS: Final = frozenset(
    "mov matroska mpegts mpeg flv asf ogg mxf rm".split()  # noqa: SIM905 - it reads better
)
"""Containers (FFmpeg's first name) whose packets carry time stamps. In others, sound simply
follows sound, and FFmpeg counts it; avi's stamps are derived from byte counts and are often wrong.
"""
_AROUND_PACKET_BYTES: Final = 64
"""Headers and trailers of the container around a packet."""
_JUDGED_BY_ALL: Final = frozenset(("matroska", "flv", "mxf", "rm", "mpegts", "mpeg", "asf"))
"""Containers whose end is judged by the last packet of all tracks, as fragmented films are."""


_CHECKED: Final = frozenset(("tta", "flac"))
"""Codecs whose packets have checksums that FFmpeg compares only on request."""
_PREROLL_S: Final = 0.5
"""Sound that is decoded before a place within it, so that the decoder knows what it needs."""


class Reader:
    """Reads the chosen track of an open container.

    Attributes:
        track: The track.
        container_name: FFmpeg's first name of the container.
        mixers: A mixer for each format that the frames had.
        packets: Packets that were read.
        packet_bytes: Their size.
        damaged: Packets that could not be decoded.
        damaged_bytes: Their size; one of them may hold all that follows the damage.
        sound_s: Length of the decoded sound, without holes.
        first_packet_s: Time stamp of the first packet, or None.
        last_end_s: End of the last packet of the track by its time stamp, or None.
        last_end_of_all_s: The same of all tracks.
        last_start: Position of the last packet that states one.
        last_byte: Position that is certainly behind the last packet that was read.
        stopped: The container could not be read up to its end.
    """

    def __init__(
        self,
        container: InputContainer,
        track: AudioStream,
        span: Span | None = None,
        *,
        is_checked: bool = False,
    ) -> None:
        """Read a track.

        Args:
            container: The open container.
            track: The track.
            span: The part of the file that is open; None: all.
            is_checked: The track was read before, and all of its samples are valid.
        """
        self._container = container
        self._span = span
        self._is_checked = is_checked
        self._scales: dict[int, float] = {}
        self.track = track
        self.container_name = container.format.name.split(",")[0]
        if self.has_checksums:
            track.codec_context.options = {"err_detect": "crccheck+explode"}
        self._keeps_end = self.container_name == "caf" and _is_alac(track)
        if self._keeps_end:
            track.codec_context.flags2 |= Flags2.skip_manual
        self.mixers: list[Mixer] = []
        self.packets = 0
        self.packet_bytes = 0
        self.damaged = 0
        self.damaged_bytes = 0
        self.sound_s = 0.0
        self.first_packet_s: float | None = None
        self.last_end_s: float | None = None
        self.last_end_of_all_s: float | None = None
        self.last_start = 0
        self.last_byte = 0
        self.stopped = False

    @property
    def has_stamps(self) -> bool:
        """True if the time stamps say where the sound belongs."""
        return self.container_name in _WITH_STAMPS

    @property
    def has_checksums(self) -> bool:
        """True if damage shows in each packet, and would be noise if it were not looked for."""
        return self.track.codec_context.codec.canonical_name in _CHECKED

    @property
    def gives_floats(self) -> bool:
        """True if the track decodes to floats, which may exceed full scale."""
        # PyAV gives None where the format is not known before decoding, contrary to its types.
        form = getattr(self.track.codec_context.format, "name", "fltp")
        return form in {"flt", "fltp", "dbl", "dblp"}

    @property
    def clock_may_be_set(self) -> bool:
        """True if the container's clock may be set while it records (transport streams, Ogg)."""
        return av.format.Flags.ts_discont in av.format.Flags(self._container.format.flags)

    @property
    def pictures(self) -> list[av.VideoStream]:
        """Film tracks; covers and other stills do not count."""
        return [stream for stream in self._container.streams.video if not is_still(stream)]

    @property
    def stated_s(self) -> float | None:
        """Length of the track by FFmpeg: by the container, or an estimate; None if unknown."""
        if self.track.duration is not None and self.track.time_base is not None:
            return float(self.track.duration * self.track.time_base)
        duration = self._container.duration
        return duration / av.time_base if duration is not None else None

    @property
    def index_end(self) -> tuple[int, int]:
        """Entries of the track's index in an mp4 file, and the end of its last bytes; else 0."""
        if self.container_name != "mov" or not self.track.frames:
            return 0, 0
        entries = self.track.index_entries
        if not len(entries):
            return 0, 0
        last = entries[len(entries) - 1]
        return len(entries), last.pos + last.size

    @property
    def index_bytes(self) -> int:
        """Bytes of sound in the index of an avi file; FFmpeg adds what it finds without one."""
        if self.container_name != "avi":
            return 0
        return sum(entry.size for entry in self.track.index_entries)

    def lead_s(self, first_s: float | None, stated: Stated) -> float:
        """Return the silence before the sound, which starts later than the picture or the file.

        Args:
            first_s: Time stamp of the first sound.
            stated: What the container states, which shows if time 0 belongs to the file.
        """
        if self._is_edit:
            return 0.0  # the edit list has the silence
        pictures = self.pictures
        if self.container_name == "avi" and pictures:  # its header has a start for each track
            return max(self.first_packet_s or 0.0, 0.0)
        if first_s is None or not self.has_stamps:
            return 0.0
        if self.container_name == "mov" and self.track.frames:
            # Time 0 is the start of the film, whatever starts there. Without a picture, the first
            # packet counts: the decoder drops the encoder delay, which must not become silence.
            start_s = first_s if pictures or self.first_packet_s is None else self.first_packet_s
            return max(start_s, 0.0)
        starts = [
            float(picture.start_time * picture.time_base)
            for picture in pictures
            if picture.start_time is not None and picture.time_base is not None
        ]
        if not pictures and self._begins_at_0(first_s, stated):
            starts = [0.0]
        return max(first_s - min(starts), 0.0) if starts else 0.0

    def _begins_at_0(self, first_s: float, stated: Stated) -> bool:
        if self.container_name == "mov":  # in fragments; the encoder's delay stands before time 0
            return stated.has_first_fragment and (self.first_packet_s or 0.0) > 0
        has_length = stated.length_s is not None and first_s < stated.length_s
        return has_length and self.container_name in {"matroska", "flv"}

    def pieces(self) -> Iterator[Piece]:
        """Yield the sound with its time stamps."""
        start_s, end_s = self._bounds_s()
        for piece in self._all_pieces():
            is_behind = piece.at_s is not None and piece.at_s >= end_s
            if is_behind and self._is_edit:
                return
            kept = self._with_its_end(_within(piece, start_s, end_s))
            self.sound_s += kept.length_s
            if kept.planes.shape[1]:
                yield kept

    def _with_its_end(self, piece: Piece) -> Piece:
        """Return a piece without what its last packet has beyond the stated length."""
        if not self._keeps_end or self.stated_s is None:
            return piece
        left = max(round((self.stated_s - self.sound_s) * piece.rate_hz), 0)
        return Piece(piece.planes[:, :left], piece.rate_hz, piece.at_s)

    @property
    def _is_edit(self) -> bool:
        return self._span is not None and self._span.edit is not None

    def _bounds_s(self) -> tuple[float, float]:
        """Return the beginning and the end of the sound by its edit list, and seek there."""
        if self._span is None or self._span.edit is None:
            end_s = None if self._span is None else self._span.end_s
            return -math.inf, math.inf if end_s is None else end_s
        edit, unit_s = self._span.edit, self.track.time_base
        start_s = edit.start_s or 0.0
        if start_s > _PREROLL_S and unit_s:
            self._container.seek(round((start_s - _PREROLL_S) / unit_s), stream=self.track)
        return start_s, edit.end_s

    def _all_pieces(self) -> Iterator[Piece]:
        mixer: Mixer | None = None
        for frame, until_s in self._frames():
            if not frame.samples or frame.sample_rate <= 0:
                continue
            if mixer is None or not mixer.fits(frame):
                mixer = Mixer(frame, is_checked=self._is_checked)
                self.mixers.append(mixer)
            planes, at_s = mixer.mixed(frame), self._stamp_s(frame)
            if until_s is not None and at_s is not None and at_s < until_s:
                planes = planes[:, : round((until_s - at_s) * mixer.rate_hz)]
            yield Piece(planes, mixer.rate_hz, at_s)

    def _stamp_s(self, frame: AudioFrame) -> float | None:
        if not self.has_stamps or frame.pts is None or frame.time_base is None:
            return None
        return frame.pts * frame.time_base.numerator / frame.time_base.denominator

    def _frames(self) -> Iterator[tuple[AudioFrame, float | None]]:
        """Yield the frames, and the instant at which the last one ends by its packet.

        A packet that cannot be decoded is counted and skipped.
        """
        for packet, is_last in self._packets():
            # The index of an mp4 file states the end of the last packet, without padding.
            is_exact = is_last and self.container_name == "mov" and packet.duration
            until_s = self.last_end_s if is_exact else None
            try:
                frames = self.track.decode(packet)
            except av.FFmpegError:
                self.damaged += 1
                self.damaged_bytes += packet.size
                continue
            for frame in frames:
                yield frame, until_s
        with suppress(av.FFmpegError):
            for frame in self.track.decode(None):
                yield frame, None

    def _packets(self) -> Iterator[tuple[Packet[Stream], bool]]:
        """Yield the packets of the track, and True with the last one."""
        waiting: Packet[Stream] | None = None
        for packet in self._demuxed():
            if not packet.size:
                continue
            self._note_end(packet)
            self._note_place(packet)
            if packet.stream_index != self.track.index:
                continue
            self.packets += 1
            self.packet_bytes += packet.size
            if waiting is not None:
                yield waiting, False
            waiting = packet
        if waiting is not None:
            yield waiting, True

    def _demuxed(self) -> Iterator[Packet[Stream]]:
        is_fragmented = self.container_name == "mov" and not self.track.frames
        is_judged_by_all = is_fragmented or self.container_name in _JUDGED_BY_ALL
        streams = [] if is_judged_by_all else [self.track.index]
        packets: Iterator[Packet[Stream]] = self._container.demux(*streams)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the container itself is damaged; the verdict is elsewhere
                self.stopped = True
                return
            except IndexError:  # PyAV does so at the end, if a track appeared within the file
                return
            if packet is None:
                return
            yield packet

    def _note_place(self, packet: Packet[Stream]) -> None:
        if packet.pos is None:  # FFmpeg found it behind another one, in the same part of the file
            self.last_byte += packet.size
            return
        self.last_start = max(self.last_start, packet.pos)
        self.last_byte = max(self.last_byte, packet.pos + packet.size + _AROUND_PACKET_BYTES)

    def _note_end(self, packet: Packet[Stream]) -> None:
        if packet.pts is None:
            return
        scale = self._scales.get(packet.stream_index)
        if scale is None:
            scale = self._scales[packet.stream_index] = float(packet.time_base)
        start_s = packet.pts * scale
        end_s = start_s + (packet.duration or 0) * scale
        self.last_end_of_all_s = max(self.last_end_of_all_s or end_s, end_s)
        if packet.stream_index == self.track.index:
            self.last_end_s = max(self.last_end_s or end_s, end_s)
            if self.first_packet_s is None:
                self.first_packet_s = start_s


def _is_alac(track: AudioStream) -> bool:
    """Return True for a codec whose last packet is shorter by itself.

    A CAF file states the rest of the last packet, too, and FFmpeg would drop it a second time.
    """
    return track.codec_context.codec.canonical_name == "alac"


def _within(piece: Piece, start_s: float, end_s: float) -> Piece:
    """Return the piece without what lies before or behind two instants."""
    if piece.at_s is None or (piece.at_s >= start_s and piece.at_s + piece.length_s <= end_s):
        return piece
    count = piece.planes.shape[1]
    first = min(max(round((start_s - piece.at_s) * piece.rate_hz), 0), count) if start_s > 0 else 0
    last = count if end_s == math.inf else max(round((end_s - piece.at_s) * piece.rate_hz), 0)
    return Piece(piece.planes[:, first:last], piece.rate_hz, piece.at_s + first / piece.rate_hz)
