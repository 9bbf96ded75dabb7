"""Files that are not lists: recognised by their first bytes or their extension, and refused.

Each refusal names the kind, and the command that makes a list of it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final, NamedTuple

HEAD_BYTES = 8192
"""Bytes at the start of a file that tell its kind, encoding and line ends."""


PARQUET: Final = b"PAR1"
"""First bytes of a parquet file."""


class Kind(NamedTuple):
    """A kind of file that is not read.

    Attributes:
        name: The kind in words.
        action: What makes a list of it. ``{file}`` stands for the quoted name of the file,
            ``{new}`` for that of a new file; see :func:`refusal`.
        makes: Extension of the new file; empty: what is left without the extension of the kind.
    """

    name: str
    action: str
    makes: str = ""


_CONVERT = "Export the sheet as CSV: libreoffice --headless --convert-to csv {file}"
_SQLITE = "Export the table: sqlite3 -csv -header {file} 'SELECT ...'"
_LOGIN = "A download that needs a login gives such a page. Download it again"
_JSON_ARRAY = "Write one JSON object per line: jq -c '.[]' {file} > {new}"
_KINDS: Final[dict[str, Kind]] = {
    "xz": Kind("xz data", "Unpack it: xz -dc {file} > {new}"),
    "zst": Kind("Zstandard data", "Unpack it: zstd -dc {file} > {new}"),
    "bz2": Kind("bzip2 data", "Unpack it: bzip2 -dc {file} > {new}"),
    "lz4": Kind("LZ4 data", "Unpack it: lz4 -dc {file} > {new}"),
    "Z": Kind("compress data", "Unpack it: gzip -dc {file} > {new}"),
    "gz": Kind("gzip data", "Unpack it: gzip -dc {file} > {new}"),
    "zip": Kind("a zip archive", "Unpack it: unzip {file}"),
    "7z": Kind("a 7-Zip archive", "Unpack it: 7z x {file}"),
    "rar": Kind("a RAR archive", "Unpack it: unrar x {file}"),
    "tar": Kind("a tar archive", "Unpack it: tar -xf {file}"),
    "xlsx": Kind("an Excel workbook", _CONVERT),
    "xls": Kind("an Excel workbook of the old format", _CONVERT),
    "ods": Kind("an OpenDocument spreadsheet", _CONVERT),
    "numbers": Kind("a Numbers document", "Export it as CSV from Numbers"),
    "json": Kind("a JSON document", _JSON_ARRAY, ".jsonl"),
    "orc": Kind("an ORC file", "Convert it to parquet or csv"),
    "avro": Kind("an Avro file", "Convert it to parquet or csv"),
    "feather": Kind("an Arrow file", "Convert it to parquet or csv"),
    "sqlite": Kind("an SQLite database", _SQLITE),
    "pdf": Kind("a PDF document", "Export the table as CSV"),
    "html": Kind("a web page (HTML)", _LOGIN),
    "parquet": Kind("a parquet file", "Add format: parquet"),
}  # fmt: skip
_EXTENSIONS: Final[dict[str, str]] = {
    **{f".{kind.lower()}": kind for kind in _KINDS},
    ".zstd": "zst", ".txz": "xz", ".tgz": "tar", ".tbz2": "bz2", ".xlsm": "xlsx",
    ".arrow": "feather", ".db": "sqlite", ".htm": "html",
}  # fmt: skip
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "Z"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"),
    (b"SQLite format 3\0", "sqlite"),
    (b"%PDF-", "pdf"),
    (PARQUET, "parquet"),
    (b"ARROW1", "feather"),
    (b"ORC", "orc"),
    (b"Obj\x01", "avro"),
)
_BZIP2_BLOCK = b"1AY&SY"
_TAR_PLACE = 257


def by_extension(name: str) -> Kind | None:
    """Return the kind that the extension of a file name stands for, if it is not read."""
    kind = _kind_of(name)
    return None if kind == _KINDS["gz"] else kind  # lists may be compressed so, once


def _kind_of(name: str) -> Kind | None:
    return _KINDS.get(_EXTENSIONS.get(Path(name.lower()).suffix, ""))


def by_content(head: bytes) -> Kind | None:
    """Return the kind of a file by its first bytes, or None if it may be a list."""
    for magic, kind in _MAGIC:
        if head.startswith(magic) and not (kind == "orc" and head[3:4].isalnum()):
            return _KINDS[kind]
    if head.startswith(b"BZh") and head[4:10] == _BZIP2_BLOCK:
        return _KINDS["bz2"]
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return _KINDS[_packed_in(head)]
    if head[_TAR_PLACE : _TAR_PLACE + 5] == b"ustar":
        return _KINDS["tar"]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    return _KINDS["html"] if start.startswith((b"<!doctype html", b"<html")) else None


def _packed_in(head: bytes) -> str:
    """Return the kind of a zip archive: spreadsheets are such archives."""
    if b"opendocument.spreadsheet" in head[:200]:
        return "ods"
    return "xlsx" if b"[Content_Types].xml" in head or b"xl/" in head else "zip"


def refusal(kind: Kind, shown: str, file: str | None = None) -> str:
    """Return the message for a file of a kind that is not read.

    Args:
        kind: The kind.
        shown: The file as messages name it.
        file: The file as a command names it; a stand-in if None (standard input).
    """
    name = shlex.quote(file) if file else "FILE"
    new = shlex.quote(_new_name(Path(file), kind)) if file else f"LIST{kind.makes}"
    action = kind.action.format(file=name, new=new)
    return f"{shown} is {kind.name}, which is not read as a list. {action}."


def _new_name(file: Path, kind: Kind) -> str:
    """Return the name of the file that a command makes; never that of the file that it reads."""
    ending = file.suffix
    if kind.makes and ending != kind.makes:
        return str(file.with_suffix(kind.makes))
    if not kind.makes and _kind_of(file.name) == kind:
        return str(file.with_suffix(""))
    return str(file.with_name(f"{file.stem}-new{kind.makes or ending}"))


def json_document(text: str) -> Kind | None:
    """Return the kind of a text whose first line begins a JSON document of many lines."""
    start = text.strip()
    if start == "[" or start.startswith("[{"):
        return _KINDS["json"]
    if start == "{":
        action = "Write one object per line: jq -c . {file} > {new}"
        return Kind("JSON over many lines", action, ".jsonl")
    return None
