"""Open media files of unknown origin: by content, only real media containers, only this one file.

FFmpeg also reads playlists and scripts (m3u8, concat, dash ...) that name other files and
addresses. A hostile upload must not make this machine read those, so only the containers of
everyday media are allowed, and FFmpeg receives bytes, not a name: it can open nothing else. Without
a name it cannot judge by the name either: the content alone decides.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orchestrator.separation.errors import (
    RESOURCE_NOT_FOUND,
    RESOURCE_NOT_SUPPORTED,
    SeparationFailed,
)
from orchestrator.separation.media.byte_source import byte_source
from orchestrator.separation.media.refused_kinds import name_of_other_kind
from orchestrator.separation.media.sample_size import header_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from av.container import InputContainer
    from av.stream import Stream

    from orchestrator.separation.media.spans import Span

# Bare AMR frames (amrnb, amrwb) are not in the list: they have no signature, so that texts pass for
# them. AMR files have one.
_CONTAINERS: Final = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp2,mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,opus,rm,tak,tta,voc,w64,wav,wv"
)
_BUFFER_BYTES: Final = 1 << 18


@contextmanager
def open_media(path: Path, span: Span | None = None) -> Iterator[InputContainer]:
    """Open a media file for reading, by its content; its name does not matter.

    Args:
        path: The file.
        span: The bytes to read; None: all.

    Raises:
        SeparationFailed: ``ResourceNotFound`` or ``ResourceNotSupported``.
    """
    refuse_unreadable(path)
    import av

    with path.open("rb", buffering=0) as file:
        if fault := name_of_other_kind(file.read(_HEAD_BYTES), path.stat().st_size):
            raise SeparationFailed(RESOURCE_NOT_SUPPORTED, fault)
        end = path.stat().st_size if span is None else span.end
        with byte_source(path) as source:
            changes = header_changes(source)
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        if span is not None and span.edit is not None:
            options["ignore_editlist"] = "1"
        try:
            container = av.open(
                _Bytes(file, 0 if span is None else span.start, end, changes),
                mode="r",
                format=span.container if span is not None else None,
                options=options,
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
            )
        except (av.FFmpegError, ValueError) as error:
            raise SeparationFailed(
                RESOURCE_NOT_SUPPORTED,
                "The input could not be opened as audio or video: it is damaged, cut off, or not a "
                "media file of a supported kind. Play it; if it plays, convert it, for example to "
                "flac or m4a.",
            ) from error
        with container:
            yield container


_HEAD_BYTES: Final = 1 << 16
"""Bytes that are enough to recognise the kinds of ``refused_kinds``."""


class _Bytes(io.RawIOBase):
    """A part of an open file, as a file without a name, and with some other bytes in its header."""

    def __init__(self, file: io.FileIO, start: int, end: int, changes: Mapping[int, bytes]) -> None:
        super().__init__()
        self._file = file
        self._changes = changes
        self._start = start
        self._size = end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes; none at the end."""
        left = self._size - self._at
        if left <= 0:  # a damaged file may point anywhere, further than a system can seek
            return b""
        self._file.seek(self._start + self._at)
        data = self._file.read(left if count < 0 else min(count, left))
        for place, other in self._changes.items():
            at = place - self._start - self._at
            if -len(other) < at < len(data):
                data = (
                    data[: max(at, 0)]
                    + other[max(-at, 0) :][: len(data) - max(at, 0)]
                    + data[max(at + len(other), 0) :]
                )
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at


def has_decoder(stream: Stream) -> bool:
    """Return True if FFmpeg has the stream's codec.

    PyAV gives other streams no context, contrary to its types.
    """
    return getattr(stream, "codec_context", None) is not None


def refuse_unreadable(path: Path) -> None:
    """Raise ``SeparationFailed`` if the file is absent, empty or not readable."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise SeparationFailed(RESOURCE_NOT_FOUND, "The input does not exist.") from error
    except OSError as error:
        raise SeparationFailed(
            RESOURCE_NOT_FOUND, f"The input cannot be read: {error.strerror}."
        ) from error
    if not size_bytes:
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED, "The input is empty (0 bytes); upload it again."
        )
