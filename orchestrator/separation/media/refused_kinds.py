"""Names of files that are not read, found by their content, so that a refusal can name them.

Sources of the signatures: the formats' own specifications and FFmpeg's probes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CONVERT: Final = "convert it, for example to flac or m4a"
_RENDER: Final = "it holds notes, not sound; convert it to sound, for example to flac"
_GSM_FRAME_BYTES: Final = 33
_GSM_FRAMES: Final = 8


@dataclass(frozen=True, slots=True)
class _Signature:
    """Bytes at a position, the name of the kind that begins so, and the remedy."""

    name: str
    pattern: bytes
    at: int = 0
    remedy: str = _CONVERT


_LIST_REMEDY: Final = (
    "it is not a media file. Name the media files themselves, or convert what it plays to one file"
)
_PACKED_REMEDY: Final = "it is not a media file. Unpack it, and name the media files themselves"
_PICTURE_REMEDY: Final = "it has no sound"
_DOCUMENT_REMEDY: Final = "it is not a media file"

_SIGNATURES: Final = (
    _Signature("a DSF file (DSD sound)", b"DSD "),
    _Signature("a DSDIFF file (DSD sound)", b"FRM8"),
    _Signature("a MIDI file (notes, not sound)", b"MThd", remedy=_RENDER),
    _Signature("a module (XM)", b"Extended Module: ", remedy=_RENDER),
    _Signature("a module (IT)", b"IMPM", remedy=_RENDER),
    _Signature("a module (S3M)", b"SCRM", 44, _RENDER),
    *(
        _Signature("a module (MOD)", tag, 1080, _RENDER)
        for tag in (b"M.K.", b"M!K!", b"FLT4", b"FLT8", b"4CHN", b"6CHN", b"8CHN", b"OCTA", b"CD81")
    ),
    _Signature("a module (MED)", b"MMD", remedy=_RENDER),
    _Signature("a module (669)", b"if  ", remedy=_RENDER),
    _Signature("a SID tune", b"PSID", remedy=_RENDER),
    _Signature("a SID tune", b"RSID", remedy=_RENDER),
    _Signature("a game tune (NSF)", b"NESM\x1a", remedy=_RENDER),
    _Signature("a game tune (VGM)", b"Vgm ", remedy=_RENDER),
    _Signature("an Audible book (AA)", b"\x57\x90\x75\x36", 4),
    # FFmpeg reads its samples in the wrong byte order, as noise.
    _Signature("a RIFX file (big-endian wave)", b"RIFX"),
    _Signature("a Shorten file", b"ajkg"),
    _Signature("an OptimFROG file", b"OFR "),
    _Signature("a TwinVQ file", b"TWIN"),
    _Signature("a Codec 2 file", b"\xc0\xde\xc2"),
    _Signature("a Creative music file (CMF)", b"CTMF", remedy=_RENDER),
    _Signature("an IFF 8SVX sample", b"8SVX", 8),
    _Signature("a Qualcomm QCP file", b"QLCM", 8),
    _Signature("a NIST Sphere file", b"NIST_1A"),
    _Signature("an ADX file", b"(c)CRI"),
    _Signature("a Flash film (SWF)", b"FWS"),
    _Signature("a Flash film (SWF)", b"CWS"),
    _Signature("a Flash film (SWF)", b"ZWS"),
    _Signature("a NUT file", b"nut/multimedia container\0"),
    _Signature("a Bink film", b"BIK"),
    _Signature("a Bink film", b"KB2"),
    _Signature("an HDF5 or NumPy data file", b"\x93NUMPY", remedy=_DOCUMENT_REMEDY),
    _Signature("a playlist (m3u8)", b"#EXTM3U", remedy=_LIST_REMEDY),
    _Signature("a playlist (pls)", b"[playlist]", remedy=_LIST_REMEDY),
    _Signature("a list of files (ffconcat)", b"ffconcat", remedy=_LIST_REMEDY),
    _Signature("a ZIP archive", b"PK\x03\x04", remedy=_PACKED_REMEDY),
    _Signature("a ZIP archive", b"PK\x05\x06", remedy=_PACKED_REMEDY),
    _Signature("a gzip file", b"\x1f\x8b", remedy=_PACKED_REMEDY),
    _Signature("a bzip2 file", b"BZh", remedy=_PACKED_REMEDY),
    _Signature("an xz file", b"\xfd7zXZ\0", remedy=_PACKED_REMEDY),
    _Signature("a zstd file", b"\x28\xb5\x2f\xfd", remedy=_PACKED_REMEDY),
    _Signature("a 7z archive", b"7z\xbc\xaf\x27\x1c", remedy=_PACKED_REMEDY),
    _Signature("a RAR archive", b"Rar!\x1a\x07", remedy=_PACKED_REMEDY),
    _Signature("a tar archive", b"ustar", 257, _PACKED_REMEDY),
    _Signature("a JPEG picture", b"\xff\xd8\xff", remedy=_PICTURE_REMEDY),
    _Signature("a PNG picture", b"\x89PNG\r\n\x1a\n", remedy=_PICTURE_REMEDY),
    _Signature("a GIF picture", b"GIF8", remedy=_PICTURE_REMEDY),
    _Signature("a WebP picture", b"WEBP", 8, _PICTURE_REMEDY),
    _Signature("a TIFF picture", b"II*\0", remedy=_PICTURE_REMEDY),
    _Signature("a TIFF picture", b"MM\0*", remedy=_PICTURE_REMEDY),
    _Signature("an HEIC picture", b"ftypheic", 4, _PICTURE_REMEDY),
    _Signature("an AVIF picture", b"ftypavif", 4, _PICTURE_REMEDY),
    _Signature("a PDF document", b"%PDF-", remedy=_DOCUMENT_REMEDY),
    _Signature("an Office document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", remedy=_DOCUMENT_REMEDY),
    _Signature("a program", b"\x7fELF", remedy=_DOCUMENT_REMEDY),
    _Signature("a SQLite database", b"SQLite format 3\0", remedy=_DOCUMENT_REMEDY),
    _Signature("a Parquet table", b"PAR1", remedy=_DOCUMENT_REMEDY),
)
_MARKUP: Final = (
    (re.compile(rb"<asx\b", re.IGNORECASE), "a playlist (asx)", _LIST_REMEDY),
    (re.compile(rb"<(smil|\?wpl)\b", re.IGNORECASE), "a playlist (wpl)", _LIST_REMEDY),
    (re.compile(rb"<playlist\b", re.IGNORECASE), "a playlist (xspf)", _LIST_REMEDY),
    (re.compile(rb"<MPD\b"), "a playlist (DASH)", _LIST_REMEDY),
    (re.compile(rb"<SmoothStreamingMedia\b"), "a playlist (Smooth Streaming)", _LIST_REMEDY),
    (re.compile(rb"<!doctype html|<html\b", re.IGNORECASE), "a web page", _DOCUMENT_REMEDY),
    (re.compile(rb"<\?xml|<error>", re.IGNORECASE), "an XML document", _DOCUMENT_REMEDY),
)
_NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_AMR: Final = re.compile(rb"#!AMR(?:-WB)?\n")
_AMR_FRAME_BYTES: Final = {
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1),
}
"""Bytes of a frame by its type, with its header; 0: not used (RFC 4867, section 5.3)."""
_AMR_FRAMES: Final = 20
_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_ENCRYPTION: Final = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def name_of_other_kind(head: bytes, size_bytes: int) -> str | None:
    """Return a sentence if the file is of a kind that is not read, or None.

    Args:
        head: The first bytes of the file, up to 64 kB.
        size_bytes: Size of the file.
    """
    for kind in _SIGNATURES:
        if head[kind.at : kind.at + len(kind.pattern)] == kind.pattern:
            return _sentence(kind.name, kind.remedy)
    if head[:16] == _ASF and any(guid in head for guid in _ASF_ENCRYPTION):
        return encrypted("an encrypted Windows Media file")
    if match := _AMR.match(head):
        if _is_amr(head, match.end()):
            return None
        return _sentence("a damaged AMR file, or a text that begins like one", _DOCUMENT_REMEDY)
    if text := _text(head):
        return text
    if _is_gsm(head, size_bytes):
        return _sentence("a bare GSM stream", _CONVERT)
    return None


def encrypted(name: str) -> str:
    """Return the sentence about a file whose sound is encrypted."""
    return (
        f"The input is {name}: its sound is protected and cannot be read here. "
        "Use a copy without protection."
    )


def _sentence(name: str, remedy: str) -> str:
    return f"The input is {name}, which is not supported: {remedy}."


def _text(head: bytes) -> str | None:
    """Name a text: a playlist, a page, or a plain one."""
    start = head[:4096]
    if not start or (_NOT_TEXT.search(start) and start[:2] not in _UTF16):
        return None
    if start[:2] in _UTF16:
        if start.count(b"\0") * 3 < len(start):
            return None
        start = start.replace(b"\0", b"")
    elif not _is_utf8(start):
        return None
    for pattern, name, remedy in _MARKUP:
        if pattern.search(start):
            return _sentence(name, remedy)
    return _sentence("a text file", _DOCUMENT_REMEDY)


def _is_utf8(start: bytes) -> bool:
    """Return True if the bytes are text; the last character may be cut."""
    try:
        start[: len(start) - 3 if len(start) == 4096 else None].decode()
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 6 and error.start > 0
    return True


def _is_amr(head: bytes, at: int) -> bool:
    """Return True if frames of AMR follow the signature (each header has five zero bits or so)."""
    sizes = _AMR_FRAME_BYTES[head[:at]]
    for _ in range(_AMR_FRAMES):
        if at >= len(head):
            return True
        size = sizes[head[at] >> 3 & 15]
        if head[at] & 0x83 or not size:
            return False
        at += size
    return True


def _is_gsm(head: bytes, size_bytes: int) -> bool:
    """Return True if every 33rd byte begins with the mark of GSM 06.10 frames (hexadecimal D)."""
    marks = head[: _GSM_FRAME_BYTES * 64 : _GSM_FRAME_BYTES]
    return (
        size_bytes >= _GSM_FRAME_BYTES * _GSM_FRAMES
        and size_bytes % _GSM_FRAME_BYTES == 0
        and all(mark >> 4 == 0xD for mark in marks)
    )
