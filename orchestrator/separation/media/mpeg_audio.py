"""Frames of an mp3 file (MPEG audio, all layers): where its sound begins and ends.

An mp3 file has no container: frames follow each other, and tags, pictures, padding or another mp3
may stand before, between and behind them. The walk over the frame headers finds the sound in it,
and the first frame may state how much there should be.

Sources: ISO/IEC 11172-3 and 13818-3 (frame header), the Xing, Info and VBRI headers as LAME and
Fraunhofer write them, ID3v2.4, APEv2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.separation.media.byte_source import ByteSource

_BLOCK_BYTES: Final = 1 << 20
_LONGEST_FRAME_BYTES: Final = 8192
"""More than any frame has, and than a header and a VBRI header need."""
_SURE_AFTER: Final = 3
"""Frames in a row that cannot be a coincidence."""
_KBPS: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ: Final = (44100, 48000, 32000)
_KIND_MASK: Final = 0x1E0C
"""Version, layer and sample rate: equal in all frames of one sound."""
_ID3V1_BYTES, _ID3V1_EXTENSION_BYTES = 128, 227
_APE_FOOTER_BYTES: Final = 32
_LONGEST_TAG_BYTES: Final = 1 << 24
_CANDIDATE: Final = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]")
"""Bytes that may be the header of a frame."""
_MOST_CANDIDATES: Final = 500_000
"""Headers without frames behind them after which the search ends; it takes about a second."""
_MOST_FALSE_STARTS: Final = 100
"""Frames within a tag (a picture may look like some) after which the search in it ends."""
_MOST_FRAMES: Final = 1 << 28
"""A header that states more (two months of sound) is wrong."""


def _layout(bits: int) -> tuple[int, int, int] | None:
    """Return bytes, samples and rate of a frame by 13 bits of its header, or None."""
    version = {3: 1, 2: 2, 0: 3}.get(bits >> 11 & 3)  # 1, 2 and 2.5
    layer = 4 - (bits >> 9 & 3)
    index, rate_index = bits >> 4 & 15, bits >> 2 & 3
    if version is None or layer == 4 or index in {0, 15} or rate_index == 3:
        return None
    rate = _RATES_HZ[rate_index] // (1, 2, 4)[version - 1]
    kbps = _KBPS[min(version, 2), min(layer, 2) if version > 1 else layer][index - 1]
    padding = bits >> 1 & 1
    if layer == 1:
        return (12000 * kbps // rate + padding) * 4, 384, rate
    samples = 576 if layer == 3 and version > 1 else 1152
    return samples * 125 * kbps // rate + padding, samples, rate


_LAYOUTS: Final = [_layout(bits) for bits in range(1 << 13)]
_FRAME_BYTES: Final = [layout[0] if layout else 0 for layout in _LAYOUTS]


@dataclass(slots=True)
class Run:
    """Frames of one sound.

    Attributes:
        start: Position of the first frame.
        end: Position behind the last one.
        frames: Number of frames, including one that holds the header only.
        stated_frames: Number of frames by the Xing, Info or VBRI header, which does not count the
            frame that it is in; None without a header.
        frame_samples: Samples of a frame.
        rate_hz: Sample rate.
        gaps: Places in it that are damaged.
        lost_bytes: Their size.
    """

    start: int
    end: int
    frames: int
    stated_frames: int | None
    frame_samples: int
    rate_hz: int
    gaps: int = 0
    lost_bytes: int = 0

    @property
    def is_sure(self) -> bool:
        """True if it is a sound, and not bytes that look like frames by coincidence."""
        return self.stated_frames is not None or self.frames >= _SURE_AFTER

    @property
    def found_s(self) -> float:
        """Length of the sound that is present."""
        frames = self.frames - (self.stated_frames is not None)
        return frames * self.frame_samples / self.rate_hz

    @property
    def lost_s(self) -> float:
        """Length of the sound that the damaged places could hold."""
        found_bytes = self.end - self.start - self.lost_bytes
        return self.lost_bytes * self.found_s / found_bytes if found_bytes else 0.0

    @property
    def stated_s(self) -> float | None:
        """Length by the header, or None."""
        if self.stated_frames is None:
            return None
        return self.stated_frames * self.frame_samples / self.rate_hz


def runs_of(source: ByteSource) -> list[Run]:
    """Return the sounds of an mp3 file; more than one if files were joined."""
    runs: list[Run] = []
    position = 0
    while position < source.size:
        after = _true_end(source, position, _after_tag(source, position))
        start = after if after > position else _next_frames(source, position)
        if start is None:
            break
        if after > position:
            position = after
            continue
        run = _run(source, start)
        if run is None:
            position = start + 1
            continue
        same = runs and _continues(source, runs[-1], run)
        if same:
            runs[-1].lost_bytes += run.start - runs[-1].end
            runs[-1].end, runs[-1].frames = run.end, runs[-1].frames + run.frames
            runs[-1].gaps += 1
        else:
            runs.append(run)
        position = run.end
    return runs


def _true_end(source: ByteSource, start: int, end: int) -> int:
    """Return the end of a tag. One that states too much ends where the frames begin in it.

    Only frames reach beyond the end of a tag that stands within them.
    """
    is_tag = start < end < source.size
    if not is_tag or _is_start(source, end) or not any(source.at(end, 4)):
        return end
    if _after_tag(source, end) > end:
        return end
    position = start + 10
    for _ in range(_MOST_FALSE_STARTS):
        at = _next_frames(source, position)
        if at is None or at >= end:
            break
        run = _run(source, at)
        if run is not None and run.end > end:
            return at
        position = at + 1 if run is None else run.end
    return end


def _continues(source: ByteSource, before: Run, run: Run) -> bool:
    """Return True if only damaged bytes, no tag and no header, separate two runs."""
    kind = (before.frame_samples, before.rate_hz) == (run.frame_samples, run.rate_hz)
    if not kind or run.stated_frames is not None:
        return False
    return _after_tag(source, before.end) == before.end and not _is_behind_tag(
        source, before.end, run.start
    )


def _is_behind_tag(source: ByteSource, start: int, end: int) -> bool:
    """Return True if a tag ends exactly at ``end``; padding may stand in front of it."""
    is_v1 = source.at(end - _ID3V1_BYTES, 3) == b"TAG"
    if end - _ID3V1_BYTES >= start and is_v1:
        return True
    if end - _APE_FOOTER_BYTES >= start and source.at(end - _APE_FOOTER_BYTES, 8) == b"APETAGEX":
        return True
    gap = source.at(start, min(end - start, _LONGEST_TAG_BYTES))
    at = gap.find(b"ID3")
    while at >= 0:
        if _after_tag(source, start + at) == end:
            return True
        at = gap.find(b"ID3", at + 1)
    return False


def _run(source: ByteSource, start: int) -> Run | None:
    """Walk over the frames from ``start`` on; the next header of another sound ends the walk."""
    head = source.at(start, 3)
    bits = (head[1] & 0x1F) << 8 | head[2] if len(head) == 3 else 0
    layout = _LAYOUTS[bits]
    if layout is None:
        return None
    kind = bits & _KIND_MASK
    stated = _stated_frames(source.at(start, _LONGEST_FRAME_BYTES))
    position, frames = start, 0
    base, block = start, source.at(start, _BLOCK_BYTES)
    while True:
        at = position - base
        if at + _LONGEST_FRAME_BYTES > len(block) and base + len(block) < source.size:
            base, block = position, source.at(position, _BLOCK_BYTES)
            at = 0
        if at + 3 > len(block) or block[at] != 0xFF or block[at + 1] < 0xE0:
            break
        bits = (block[at + 1] & 0x1F) << 8 | block[at + 2]
        size = _FRAME_BYTES[bits]
        if not size or bits & _KIND_MASK != kind or position + size > source.size:
            break
        if frames and _has_header(block, at):  # a second file follows without a gap
            break
        position += size
        frames += 1
    if not frames:
        return None
    return Run(start, position, frames, stated, layout[1], layout[2])


def _has_header(block: bytes, at: int) -> bool:
    """Return True if the frame states a length; a coincidence is as good as impossible."""
    part = block[at + 13 : at + 40]
    return b"Xing" in part or b"Info" in part


def _stated_frames(frame: bytes) -> int | None:
    """Return the number of frames by the Xing, Info or VBRI header of the first frame."""
    if frame[36:40] == b"VBRI":
        return _plausible(int.from_bytes(frame[50:54], "big"))
    mpeg1, mono = frame[1] >> 3 & 1, frame[3] >> 6 == 3
    side_bytes = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    for at in (4 + side_bytes, 6 + side_bytes):  # some writers count the checksum, some do not
        if frame[at : at + 4] in {b"Xing", b"Info"} and frame[at + 7] & 1:
            return _plausible(int.from_bytes(frame[at + 8 : at + 12], "big"))
    return None


def _plausible(frames: int) -> int | None:
    return frames if 0 < frames < _MOST_FRAMES else None


def _next_frames(source: ByteSource, position: int) -> int | None:
    """Return the next position where frames begin, or None."""
    candidates = 0
    while position < source.size:
        block = source.at(position, _BLOCK_BYTES)
        for match in _CANDIDATE.finditer(block):
            if _is_start(source, position + match.start()):
                return position + match.start()
            candidates += 1
            if candidates > _MOST_CANDIDATES:
                return None
        position += max(len(block) - 2, 1)  # a header may lie across two blocks
    return None


def _is_start(source: ByteSource, position: int) -> bool:
    """Return True if some frames of one kind follow each other here, up to the file's end."""
    kind = None
    for count in range(_SURE_AFTER):
        head = source.at(position, 3)
        if len(head) < 3 or head[0] != 0xFF or head[1] < 0xE0:
            # A whole frame at the very end, or in front of a tag.
            return count > 0 and (
                position == source.size or _after_tag(source, position) > position
            )
        bits = (head[1] & 0x1F) << 8 | head[2]
        size = _FRAME_BYTES[bits]
        if not size or kind not in {None, bits & _KIND_MASK}:
            return False
        kind = bits & _KIND_MASK
        position += size
        if position > source.size:
            return count > 0
    return True


def _after_tag(source: ByteSource, position: int) -> int:
    """Return the position behind the tag that begins here, or the position itself."""
    head = source.at(position, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return position + 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size = int.from_bytes(head[12:16], "little")  # without the header
        is_header = int.from_bytes(head[20:24], "little") >> 29 & 1
        return position + 32 + (size if is_header else 0)
    if head[:3] == b"TAG":
        return position + (_ID3V1_EXTENSION_BYTES if head[3:4] == b"+" else _ID3V1_BYTES)
    if head[:11] == b"LYRICSBEGIN":
        end = source.at(position, 1 << 20).find(b"LYRICS200")
        return position + end + 9 if end >= 0 else position
    return position
