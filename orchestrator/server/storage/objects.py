"""Reads objects below ``<root>/<bucket>/`` with their metadata, and stores them atomically.

A file that another program put there is an object too. Its MD5 and CRC are computed once, and kept
while its size, modification time and inode stay the same. All methods block: they run in the
storage threads.
"""

from __future__ import annotations

import errno
import os
import secrets
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import BUCKET
from orchestrator.server.storage import keys
from orchestrator.server.storage.metadata import (
    CHUNK,
    Content,
    Digest,
    Sums,
    content_at,
    content_of,
    sums_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from orchestrator.server.storage.metadata import ObjectIndex


class ObjectReads:
    """Reads objects below one root, and changes nothing there.

    Args:
        root: Folder of the buckets.
        index: The objects' metadata.
        buckets: Folders of buckets that are not in the root, by name.
    """

    def __init__(
        self,
        root: Path,
        index: ObjectIndex,
        buckets: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self.root = root
        self._buckets = buckets
        self._index = index

    def buckets(self) -> list[str]:
        """Return the names of the buckets that exist, in order."""
        inside = {path.name for path in self.root.iterdir() if BUCKET.fullmatch(path.name)}
        named = inside | set(self._buckets)
        return sorted(
            name for name in named if (self._buckets.get(name) or self.root / name).is_dir()
        )

    def folder(self, bucket: str, *, must_exist: bool = True) -> Path:
        """Return the folder of a bucket.

        Raises:
            Refusal: ``InvalidBucketName``, ``NoSuchBucket``.
        """
        folder = self._buckets.get(bucket) or keys.bucket_folder(self.root, bucket)
        if must_exist and not os.path.isdir(folder):  # noqa: PTH112 - a third of the time
            raise Refusal(
                "NoSuchBucket",
                f"The bucket {bucket} does not exist here. Check its name, or make the folder "
                f"{folder}.",
            )
        return folder

    @staticmethod
    def _marker(path: Path) -> Content:
        stat, empty = path.stat(), Sums().digest
        state = (0, stat.st_mtime_ns, stat.st_ino)
        return Content(*state, empty.tag, empty.crc64, "application/x-directory", {})

    def open(self, bucket: str, key: str) -> tuple[BinaryIO | None, Content]:
        """Open an object and return its file and metadata; a folder marker has no file.

        Raises:
            Refusal: ``NoSuchBucket``, ``NoSuchKey``, or the code of a key that is not valid.
        """
        folder = self.folder(bucket)
        path = keys.locate(folder, key)
        missing = Refusal("NoSuchKey", f"The object {key[:200]!r} does not exist in {bucket}.")
        if path is None:
            raise missing
        try:
            if key.endswith("/"):
                if path.is_dir():
                    return None, self._marker(path)
                raise missing
            file = path.open("rb")
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
                raise missing from None
            raise Refusal(
                "AccessDenied", f"The file of {key[:200]!r} cannot be read: {error.strerror}."
            ) from None
        try:
            return file, self._content(bucket, key, file)
        except BaseException:
            file.close()
            raise

    def _content(self, bucket: str, key: str, file: BinaryIO) -> Content:
        stat = os.fstat(file.fileno())
        known = self._index.recall(bucket, key, stat)
        if known is not None:
            return known
        sums = sums_of(file)
        file.seek(0)
        content = content_of(key, stat, sums.digest)
        self._index.remember(bucket, [(key, content)])
        return content

    def head(self, bucket: str, key: str) -> Content:
        """Return the metadata of an object.

        Raises:
            Refusal: As :meth:`open`.
        """
        file, content = self.open(bucket, key)
        if file is not None:
            file.close()
        return content

    def describe(
        self, bucket: str, files: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[str, Content]]:
        """Yield the metadata of listed files, ``(key, path)`` each; vanished files are skipped."""
        known = self._index.recall_all(bucket, [key for key, _ in files])
        fresh: list[tuple[str, Content]] = []
        try:
            for key, path in files:
                content = known.get(key)
                try:
                    if content is None or not content.is_of(os.lstat(path)):
                        content = content_at(key, path)
                        fresh.append((key, content))
                except OSError:
                    continue  # deleted, replaced by a link, or not readable
                yield key, content
        finally:
            if fresh:
                self._index.remember(bucket, fresh)

    def path_of(self, bucket: str, key: str) -> Path | None:
        """Return the file of an object, or None if there is none."""
        try:
            path = keys.locate(self.folder(bucket), key)
        except Refusal:
            return None
        return path if path is not None and path.is_file() else None


_NOTHING_TO_DELETE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EPERM}


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _id_of(own: Path) -> str:
    """Return the id of a root, which the first call makes."""
    path = own / "id"
    if not path.exists():
        path.write_text(secrets.token_hex(8), "ascii")
    return path.read_text("ascii").strip() or "root"


def copy_span(source: BinaryIO, target: BinaryIO, first: int, length: int) -> Sums:
    """Append ``length`` bytes of ``source``, from ``first`` on, to ``target``.

    Raises:
        Refusal: ``PathConflict`` if the source has become shorter.
    """
    source.seek(first)
    sums = Sums()
    while sums.size < length:
        data = source.read(min(CHUNK, length - sums.size))
        if not data:
            raise Refusal("PathConflict", "The source was changed while it was copied: try again.")
        target.write(data)
        sums.add(data)
    return sums


class Objects(ObjectReads):
    """Reads and writes objects below one root, for one process: it deletes unfinished files."""

    def __init__(
        self,
        root: Path,
        index: ObjectIndex,
        buckets: Mapping[str, Path] = MappingProxyType({}),
        *,
        durable: bool,
    ) -> None:
        super().__init__(root, index, buckets)
        self._durable = durable
        self._numbers = iter(range(1 << 62))
        self._own = root / keys.RESERVED
        self._own.mkdir(parents=True, exist_ok=True)
        self._id = _id_of(self._own)
        for space in self.spaces():
            for left in (space / "tmp").glob("*"):  # of a service that was killed
                left.unlink()

    def spaces(self) -> Iterator[Path]:
        """Yield the service's own folders: that of the root, and those of other file systems."""
        yield self._own
        inside = (each for each in self.root.iterdir() if BUCKET.fullmatch(each.name))
        for folder in (*inside, *self._buckets.values()):
            yield from (folder / keys.RESERVED).glob(self._id)

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it exists.

        Raises:
            Refusal: ``InvalidBucketName``.
        """
        self.folder(bucket, must_exist=False).mkdir(parents=True, exist_ok=True)

    def can_write_to(self, bucket: str) -> bool:
        """Return True if files can be made in the folder of a bucket.

        Raises:
            Refusal: As :meth:`target_folder`.
        """
        folder = self._buckets.get(bucket) or keys.bucket_folder(self.root, bucket)
        # One question for every submit: the dot makes it false for what is not a folder.
        if os.access(f"{folder}/.", os.W_OK | os.X_OK):
            return True
        return os.access(self.target_folder(bucket), os.W_OK | os.X_OK)

    def target_folder(self, bucket: str) -> Path:
        """Return the folder of a bucket to write to; one that the settings name is made.

        Raises:
            Refusal: ``InvalidBucketName``; ``NoSuchBucket`` for any other one that is missing.
        """
        if bucket in self._buckets:
            self.make_bucket(bucket)
        return self.folder(bucket)

    def space(self, bucket: str) -> Path:
        """Return the service's own folder on the file system of a bucket.

        A file moves from there into the bucket by a rename. On another file system than the root's
        it has the id of this root: the bucket may be the root of another service.

        Raises:
            Refusal: ``NoSuchBucket``, or the code of a name that is not valid.
        """
        folder = self.target_folder(bucket)
        if folder.stat().st_dev == self._own.stat().st_dev:
            return self._own
        own = folder / keys.RESERVED / self._id
        own.mkdir(parents=True, exist_ok=True)
        return own

    def temporary(self, bucket: str, suffix: str = "") -> Path:
        """Return a new path on the bucket's file system, for a file that ``adopt`` will move.

        Raises:
            Refusal: As :meth:`space`.
        """
        folder = self.space(bucket) / "tmp"
        folder.mkdir(exist_ok=True)
        return folder / f"{os.getpid()}-{next(self._numbers)}{suffix}"

    def adopt(
        self,
        bucket: str,
        key: str,
        temporary: Path,
        content_type: str = "",
        digest: Digest | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Content:
        """Make a finished temporary file the object ``key``, and atomically replace an older one.

        Raises:
            Refusal: The key cannot be stored; ``PathConflict`` if another object blocks it.
        """
        path = self._place_for(bucket, key)
        with temporary.open("rb") as file:
            digest = digest or sums_of(file).digest
            if self._durable:
                os.fsync(file.fileno())
            # Of this open file: after the rename, the name may already belong to another one.
            stat = os.fstat(file.fileno())
        try:
            temporary.replace(path)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise self._conflict(key) from error
        if self._durable:
            _sync_folder(path.parent)
        content = content_of(key, stat, digest)
        content = replace(
            content, content_type=content_type or content.content_type, meta=dict(meta or {})
        )
        self._index.remember(bucket, [(key, content)])
        return content

    def check_place(self, bucket: str, key: str) -> Path:
        """Return the path for an object.

        Raises:
            Refusal: ``NoSuchBucket``, the code of a key that is not valid, or ``AccessDenied`` if
                the path has a symbolic link.
        """
        path = keys.locate(self.target_folder(bucket), key)
        if path is None:
            raise Refusal(
                "AccessDenied",
                f"The path of {key[:80]!r} has a symbolic link; links in buckets are not followed.",
            )
        return path

    def _place_for(self, bucket: str, key: str) -> Path:
        path = self.check_place(bucket, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._conflict(key) from error
        return path

    @staticmethod
    def _conflict(key: str) -> Refusal:
        return Refusal(
            "PathConflict",
            f"{key[:80]!r} cannot be stored: objects are files here, and one name would be a file "
            "and a folder.",
        )

    def make_folder(self, bucket: str, key: str) -> Content:
        """Store a folder marker: an empty object whose key ends with a slash; it is the folder."""
        path = self._place_for(bucket, key)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise self._conflict(key) from error
        return self._marker(path)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is not an error, as at the vendor."""
        path = keys.locate(self.folder(bucket), key)
        if path is None:
            return
        try:
            if key.endswith("/"):
                path.rmdir()
            else:
                path.unlink()
        except OSError as error:
            if error.errno in _NOTHING_TO_DELETE:
                return
            raise
        self._index.forget(bucket, key)
