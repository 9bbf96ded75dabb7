"""Extensions of media files, for folders that also hold other files."""

from __future__ import annotations

from typing import Final

SOUND_EXTENSIONS: Final = frozenset({
    "3ga", "8svx", "aac", "ac3", "adts", "aif", "aifc", "aiff", "alac", "amr", "ape", "au", "awb",
    "bwf", "caf", "dff", "dsf", "dts", "eac3", "ec3", "flac", "gsm", "loas", "m4a", "m4b", "m4r",
    "mka", "mlp", "mp1", "mp2", "mp3", "mpa", "mpc", "oga", "ogg", "opus", "qcp", "ra", "ram",
    "rf64", "shn", "snd", "spx", "tak", "thd", "tta", "voc", "w64", "wav", "wave", "weba", "wma",
    "wv",
})  # fmt: skip
FILM_EXTENSIONS: Final = frozenset({
    "3g2", "3gp", "3gpp", "amv", "asf", "avi", "divx", "dv", "f4v", "flv", "m2t", "m2ts", "m4v",
    "mjpg", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "qt",
    "rm", "rmvb", "ts", "vob", "webm", "wmv", "wtv",
})  # fmt: skip

_ALL: Final = SOUND_EXTENSIONS | FILM_EXTENSIONS


def is_media(name: str) -> bool:
    """Return True if a file name has the extension of sound or film, in any case."""
    stem, dot, ending = name.rpartition(".")
    return bool(stem and dot) and ending.lower() in _ALL
