"""Multipart uploads: parts that wait, beside the objects, until they become one object.

The parts of an upload are files in ``uploads/<id>/`` of the service's own folder on the bucket's
file system, so that they are in no listing, and the complete object gets its name by a rename. A
table knows which files count. Commits are not synced: a power cut may lose the last parts, and the
client sends them again. So every part is checked against its CRC before it becomes part of an
object. All methods block: they run in the storage threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import sqlite3
import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson

from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage.metadata import CHUNK, Content, Digest, Sums

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from orchestrator.server.storage.objects import Objects

MAX_PARTS = 10_000  # the vendor's limit of part numbers
MIN_PART_BYTES = 1 << 20  # the vendor's limit of every part but the last
FOLDER = "uploads"
SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, content_type TEXT NOT NULL,
    meta BLOB NOT NULL, started_at REAL NOT NULL, used_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
    md5 TEXT NOT NULL, crc64 TEXT NOT NULL, stored_at REAL NOT NULL,
    PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS completed (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, parts TEXT NOT NULL,
    tag TEXT NOT NULL, ended_at REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was started and is neither complete nor aborted.

    Attributes:
        upload_id: Its id; ids of later uploads are greater.
        bucket: Bucket of the object.
        key: Key of the object.
        content_type: Media type of the object, or empty.
        meta: Headers to store with the object.
        started_at: Start, in seconds since the epoch.
    """

    upload_id: str
    bucket: str
    key: str
    content_type: str
    meta: Mapping[str, str]
    started_at: float


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part.

    Attributes:
        number: Its place in the object.
        file: Name of its file.
        size: Bytes.
        md5: Lowercase hex; it is the part's ETag.
        crc64: Decimal text.
        stored_at: Time of its arrival, in seconds since the epoch.
    """

    number: int
    file: str
    size: int
    md5: str
    crc64: str
    stored_at: float


@dataclass(frozen=True, slots=True)
class UploadPage:
    """One page of a list of uploads; ``last`` is the key and id to go on from, if more follow."""

    uploads: list[Upload]
    prefixes: list[str]
    last: tuple[str, str] | None


def joint_tag(parts: Sequence[Part]) -> str:
    """Return the ETag of an object made of these parts: ``<MD5 of the MD5s>-<number of parts>``."""
    md5s = b"".join(bytes.fromhex(part.md5) for part in parts)
    return f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}"


class Uploads:
    """The open uploads of one root."""

    def __init__(self, path: Path, objects: Objects) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._completing: set[str] = set()
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)
        self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Delete the folders of uploads that ended just before the service was killed."""
        known = {row[0] for row in self._connection.execute("SELECT id FROM uploads")}
        for space in self._objects.spaces():
            for folder in (space / FOLDER).glob("*"):
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)

    def start(
        self, bucket: str, key: str, content_type: str, meta: Mapping[str, str], now: float
    ) -> str:
        """Start an upload and return its id.

        Raises:
            Refusal: The object cannot be stored under that key, or there is no such bucket.
        """
        self._objects.check_place(bucket, key)
        if key.endswith("/"):
            raise Refusal(
                "InvalidArgument",
                "A key that ends in / is a folder here and cannot be uploaded in parts.",
            )
        # Like the vendor's: seconds since the epoch, then hex; so a later id is greater.
        fraction = int(now % 1 * 0x10000)
        upload_id = f"{int(now):010d}{fraction:04x}{secrets.token_hex(29)}"
        self._folder(bucket, upload_id).mkdir(parents=True)
        row = (upload_id, bucket, key, content_type, orjson.dumps(dict(meta)), now, now)
        with self._lock:
            self._connection.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return upload_id

    def _folder(self, bucket: str, upload_id: str) -> Path:
        return self._objects.space(bucket) / FOLDER / upload_id

    def find(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            Refusal: ``NoSuchBucket``; ``NoSuchUpload`` if that id is not an open upload of that
                object.
        """
        self._objects.folder(bucket)
        with self._lock:
            found = self._read(upload_id)
        if found is None or (found.bucket, found.key) != (bucket, key):
            raise _no_such_upload(upload_id, key)
        return found

    def _read(self, upload_id: str) -> Upload | None:
        row = self._connection.execute(
            "SELECT id, bucket, key, content_type, meta, started_at FROM uploads WHERE id = ?",
            (upload_id,),
        ).fetchone()
        return None if row is None else _upload(row)

    def new_file(self, upload: Upload) -> Path:
        """Return a new path for the bytes of a part, which ``add`` or ``drop`` then takes."""
        return self._folder(upload.bucket, upload.upload_id) / secrets.token_hex(12)

    def drop(self, upload: Upload, path: Path) -> None:
        """Delete the file of a part that cannot be stored.

        Raises:
            Refusal: ``NoSuchUpload`` if the reason is that the upload has ended meanwhile.
        """
        path.unlink(missing_ok=True)
        with self._lock:
            is_open = self._read(upload.upload_id) is not None
        if not is_open:
            with contextlib.suppress(OSError):  # it is gone, or another part is still in it
                path.parent.rmdir()
            raise _no_such_upload(upload.upload_id, upload.key)

    def add(self, upload: Upload, number: int, path: Path, sums: Sums, now: float) -> Part:
        """Make a file the part ``number`` of an upload, in place of an earlier one.

        Raises:
            Refusal: ``NoSuchUpload`` if the upload has ended meanwhile; ``PathConflict`` while it
                is completed.
        """
        digest = sums.digest
        part = Part(number, path.name, sums.size, digest.tag, digest.crc64, now)
        with self._lock:
            self._demand_idle(upload)
            earlier = self._connection.execute(
                "SELECT file FROM parts WHERE upload = ? AND number = ?",
                (upload.upload_id, number),
            ).fetchone()
            self._connection.execute("BEGIN")
            self._connection.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (upload.upload_id, number, part.file, part.size, part.md5, part.crc64, now),
            )
            self._connection.execute(
                "UPDATE uploads SET used_at = ? WHERE id = ?", (now, upload.upload_id)
            )
            self._connection.execute("COMMIT")
        if earlier is not None:
            (path.parent / earlier[0]).unlink(missing_ok=True)
        return part

    def _demand_idle(self, upload: Upload) -> None:
        if upload.upload_id in self._completing:
            raise Refusal("PathConflict", "Another call completes this upload: try again later.")
        if self._read(upload.upload_id) is None:
            raise _no_such_upload(upload.upload_id, upload.key)

    def parts(self, upload: Upload, after: int = 0, size: int = MAX_PARTS) -> list[Part]:
        """Return up to ``size`` parts with numbers greater than ``after``, in order."""
        with self._lock:
            rows = self._connection.execute(
                """SELECT number, file, size, md5, crc64, stored_at FROM parts
                WHERE upload = ? AND number > ? ORDER BY number LIMIT ?""",
                (upload.upload_id, after, size),
            ).fetchall()
        return [Part(*row) for row in rows]

    def complete(
        self, bucket: str, key: str, upload_id: str, wanted: Sequence[tuple[int, str]], now: float
    ) -> Content:
        """Make the wanted parts, ``(number, ETag)`` each, one object, and end the upload.

        A client whose answer was lost repeats the call. It gets the same answer, as long as the
        object is still the one that was made.

        Raises:
            Refusal: ``InvalidPartOrder``, ``InvalidPart``, ``EntityTooSmall``, ``NoSuchUpload``,
                ``PathConflict``, or the code of an object that cannot be stored.
        """
        try:
            upload = self.find(bucket, key, upload_id)
        except Refusal:
            earlier = self._completed(bucket, key, upload_id, _names_of(wanted))
            if earlier is None:
                raise
            return earlier
        with self._lock:
            self._demand_idle(upload)
            self._completing.add(upload.upload_id)
        try:
            content = self._join(upload, _chosen(self.parts(upload), wanted))
            with self._lock:
                self._forget(upload, (_names_of(wanted), content.tag, now))
            self._remove_parts(upload)
        finally:
            with self._lock:
                self._completing.discard(upload.upload_id)
        return content

    def _completed(self, bucket: str, key: str, upload_id: str, parts: str) -> Content | None:
        """Return the object that an upload became, if it was made of these parts and is there."""
        with self._lock:
            row = self._connection.execute(
                "SELECT tag FROM completed WHERE (id, bucket, key, parts) = (?, ?, ?, ?)",
                (upload_id, bucket, key, parts),
            ).fetchone()
        if row is None:
            return None
        with contextlib.suppress(Refusal):
            content = self._objects.head(bucket, key)
            if content.tag == row[0]:
                return content
        return None

    def _join(self, upload: Upload, parts: Sequence[Part]) -> Content:
        folder = self._folder(upload.bucket, upload.upload_id)
        path = self._objects.temporary(upload.bucket)
        whole = Sums(md5=False)
        try:
            with path.open("xb") as target:
                for part in parts:
                    _append(folder, part, target, whole)
            return self._objects.adopt(
                *(upload.bucket, upload.key, path, upload.content_type),
                Digest(joint_tag(parts), whole.crc64),
                upload.meta,
            )
        finally:
            path.unlink(missing_ok=True)

    def abort(self, upload: Upload) -> None:
        """End an upload and delete its parts.

        Raises:
            Refusal: ``NoSuchUpload``; ``PathConflict`` while it is completed.
        """
        with self._lock:  # with the check: nothing may begin to complete it in between
            self._demand_idle(upload)
            self._forget(upload)
        self._remove_parts(upload)

    def _forget(self, upload: Upload, done: tuple[str, str, float] | None = None) -> None:
        """Delete the rows of an upload, so that it takes no more parts.

        Args:
            upload: The upload.
            done: If it is complete: its parts, the ETag of the object, and the time.
        """
        self._connection.execute("BEGIN")
        if done is not None:
            self._connection.execute(
                "INSERT INTO completed VALUES (?, ?, ?, ?, ?, ?)",
                (upload.upload_id, upload.bucket, upload.key, *done),
            )
        self._connection.execute("DELETE FROM parts WHERE upload = ?", (upload.upload_id,))
        self._connection.execute("DELETE FROM uploads WHERE id = ?", (upload.upload_id,))
        self._connection.execute("COMMIT")

    def _remove_parts(self, upload: Upload) -> None:
        with contextlib.suppress(Refusal):  # the bucket's folder was removed
            shutil.rmtree(self._folder(upload.bucket, upload.upload_id), ignore_errors=True)

    def page(
        self, bucket: str, prefix: str, delimiter: str, marker: tuple[str, str], size: int
    ) -> UploadPage:
        """Return up to ``size`` uploads and common prefixes, in the order of keys and ids.

        Args:
            bucket: Bucket of the uploads.
            prefix: Start of their keys.
            delimiter: End of a common prefix, or empty.
            marker: Key and id to go on from. Without an id, all uploads of that key are skipped.
            size: Largest number of entries.

        Raises:
            Refusal: ``NoSuchBucket``.
        """
        self._objects.folder(bucket)
        page, last = UploadPage([], [], None), marker
        for upload in self._after(bucket, marker):
            if not upload.key.startswith(prefix):
                continue
            end = upload.key.find(delimiter, len(prefix)) if delimiter else -1
            common = upload.key[: end + len(delimiter)] if end >= 0 else ""
            if common and (common == marker[0] or common in page.prefixes[-1:]):
                continue
            if len(page.uploads) + len(page.prefixes) == size:
                return UploadPage(page.uploads, page.prefixes, last)
            if common:
                page.prefixes.append(common)
                last = (common, "")
            else:
                page.uploads.append(upload)
                last = (upload.key, upload.upload_id)
        return page

    def _after(self, bucket: str, marker: tuple[str, str]) -> Iterator[Upload]:
        key, upload_id = marker
        with self._lock:
            rows = self._connection.execute(
                """SELECT id, bucket, key, content_type, meta, started_at FROM uploads
                WHERE bucket = ? AND (key > ? OR (key = ? AND ? <> '' AND id > ?))
                ORDER BY key, id""",
                (bucket, key, key, upload_id, upload_id),
            ).fetchall()
        return (_upload(row) for row in rows)

    def forget_unused_since(self, instant: float) -> int:
        """End the uploads that got no part since then; return their number.

        Completions before that instant cannot be repeated any more.
        """
        with self._lock:
            rows = self._connection.execute(
                """SELECT id, bucket, key, content_type, meta, started_at FROM uploads
                WHERE used_at < ?""",
                (instant,),
            ).fetchall()
            left = [_upload(row) for row in rows if row[0] not in self._completing]
            for upload in left:
                self._forget(upload)
            self._connection.execute("DELETE FROM completed WHERE ended_at < ?", (instant,))
        for upload in left:
            self._remove_parts(upload)
        return len(left)

    def close(self) -> None:
        """Close the table."""
        with self._lock:
            self._connection.close()


def _upload(row: tuple[str, str, str, str, bytes, float]) -> Upload:
    upload_id, bucket, key, content_type, meta, started_at = row
    return Upload(upload_id, bucket, key, content_type, orjson.loads(meta), started_at)


def _no_such_upload(upload_id: str, key: str) -> Refusal:
    return Refusal(
        "NoSuchUpload",
        f"{upload_id[:80]!r} is not an open upload of {key[:200]!r}: it was never started, or it "
        "is complete, aborted or too old.",
    )


def _names_of(parts: Sequence[tuple[int, str]]) -> str:
    """Return a text that is the same only for the same parts in the same order."""
    names = orjson.dumps([(number, tag.lower()) for number, tag in parts])
    return hashlib.sha256(names).hexdigest()


def _chosen(stored: Sequence[Part], wanted: Sequence[tuple[int, str]]) -> list[Part]:
    """Return the parts that an object shall consist of, if they are valid together."""
    numbers = [number for number, _ in wanted]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise Refusal("InvalidPartOrder", "The parts must be in the order of their numbers.")
    known = {part.number: part for part in stored}
    for number, tag in wanted:
        part = known.get(number)
        if part is None or part.md5 != tag.lower():
            why = "was not uploaded" if part is None else "has another ETag"
            raise Refusal("InvalidPart", f"Part {number} {why}.")
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise Refusal("InvalidPart", "The numbers of the parts have a gap.")
    chosen = [known[number] for number in numbers]
    for part in chosen[:-1]:
        if part.size < MIN_PART_BYTES:
            raise Refusal(
                "EntityTooSmall",
                f"Part {part.number} has {part.size} bytes; every part but the last must have "
                f"{MIN_PART_BYTES} or more.",
            )
    return chosen


def _append(folder: Path, part: Part, target: BinaryIO, whole: Sums) -> None:
    """Append a part's file, and check that it is what was uploaded."""
    sums = Sums(md5=False)
    with contextlib.suppress(FileNotFoundError), (folder / part.file).open("rb") as source:
        while data := source.read(CHUNK):
            sums.add(data)
            whole.add(data)
            target.write(data)
    if (sums.size, sums.crc64) != (part.size, part.crc64):
        raise Refusal(
            "InvalidPart", f"Part {part.number} was damaged on this disk: upload it again."
        )
