"""Opening media files of unknown origin: only real media containers, only this one file.

FFmpeg also understands playlists and scripts (m3u8, concat, dash ...) that name further files and addresses; a hostile upload must not
make this machine read those, so the containers are a list of what everyday media come in, and the only protocol is a plain file.
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

_FORMATS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp2,mp3,mpc,mpc8,"
    "mpeg,mpegts,mxf,ogg,opus,rm,tak,tta,voc,w64,wav,wv"
)
_OPTIONS: Final = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, by its content, whatever its name.

    Args:
        path: The file.

    Yields:
        The open container; it is closed on the way out.

    Raises:
        SeparationFailed: ``ResourceNotFound`` or ``ResourceNotSupported``, with a sentence on what is wrong.
    """
    refuse_unreadable(path)
    import av

    try:
        # The prefix keeps a name with a colon from being taken for an address.
        container = av.open(
            f"file:{path.absolute()}", options=dict(_OPTIONS), metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError) as error:
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED,
            "The input could not be opened as audio or video: it is damaged, cut off, or no media file.",
        ) from error
    with container:
        yield container


def has_decoder(stream: Stream) -> bool:
    """Whether FFmpeg knows the stream's codec; PyAV leaves the context out if not, which its types do not say."""
    return getattr(stream, "codec_context", None) is not None


def refuse_unreadable(path: Path) -> None:
    """Fail early, with the plain reason, on a file that is absent, empty or may not be read."""
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
