"""Open media files of unknown origin: only real media containers, and only this one file.

FFmpeg also reads playlists and scripts (m3u8, concat, dash ...) that name other files and
addresses. A hostile upload must not make this machine read those, so only the containers of
everyday media are allowed, and the only protocol is a plain file.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orchestrator.separation.errors import (
    RESOURCE_NOT_FOUND,
    RESOURCE_NOT_SUPPORTED,
    SeparationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.stream import Stream

_CONTAINERS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp2,mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,opus,rm,tak,tta,voc,w64,wav,wv"
)


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, by its content; its name does not matter.

    Raises:
        SeparationFailed: ``ResourceNotFound`` or ``ResourceNotSupported``.
    """
    refuse_unreadable(path)
    import av

    try:
        container = av.open(
            f"file:{path.absolute()}",  # without the prefix, a colon would make it an address
            options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED,
            "The input could not be opened as audio or video: "
            "it is damaged, cut off, or not a media file.",
        ) from error
    with container:
        yield container


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
