"""Files that were joined byte by byte, of kinds of which FFmpeg reads the first one only.

The parts of a container are followed to its end; another file of its kind may begin there. Joined
mp3, Ogg, Matroska, avi, transport and program streams are read as one sound elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.separation.media.boxes import (
    MOST_PARTS,
    boxes,
    caf_chunks,
    chunks,
    voc_blocks,
    w64_chunks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.separation.media.byte_source import ByteSource

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


def fault_behind(source: ByteSource, container: str, position: int) -> str:
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
