"""Gets one file of one package from the package registry that pip is set up for, and goes on where a broken transfer stopped."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEFAULT_INDEX: Final = "https://pypi.org/simple"
_TIMEOUT_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 18
_PIP_TIMEOUT_S: Final = 1800.0
"""A 70 MB file at 40 kB/s."""
_PAGE_LIMIT_BYTES: Final = 32 << 20
_JSON: Final = "application/vnd.pypi.simple.v1+json"


class RegistryError(Exception):
    """The file could not be had; the message says why in a few words."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file in a registry: package, version, file name."""

    package: str
    version: str
    file: str


def download(wheel: Wheel, part: Path, on_progress: Callable[[int, int], None]) -> None:
    """Download a wheel.

    The index that pip is configured for is asked directly, so that the transfer can be resumed. What that does not reach (an index with
    a login, files of a folder) pip itself is asked for.

    Args:
        wheel: What to get.
        part: Where to write it. A part that is there already is continued.
        on_progress: Called with bytes so far and bytes in all (0 if not known).

    Raises:
        RegistryError: Neither way worked.
        OSError: The disk failed.
    """
    reasons = []
    for index in index_urls():
        try:
            _transfer(_link(index, wheel), part, on_progress)
        except RegistryError as error:
            reasons.append(str(error))
        else:
            return
    try:
        _by_pip(wheel, part)
    except RegistryError as error:
        raise RegistryError("; ".join([*reasons, str(error)])) from error


def index_urls() -> list[str]:
    """The http(s) indexes that pip is set up for, first to last."""
    settings = _pip_settings()
    urls = [
        settings.get("index-url") or DEFAULT_INDEX,
        *settings.get("extra-index-url", "").split(),
    ]
    return [url.rstrip("/") for url in urls if _is_plain(url)]


def _is_plain(url: str) -> bool:
    """Whether it is an http(s) address without a login."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in {"https", "http"} and "@" not in parts.netloc


def _pip_settings() -> dict[str, str]:
    """The configuration of pip: its files, then its environment variables, which win."""
    found: dict[str, str] = {}
    no_files = (
        os.environ.get("PIP_CONFIG_FILE") == os.devnull
    )  # pip's documented way to ignore its files
    for line in (
        [] if no_files else _pip("config", "list", timeout_s=_TIMEOUT_S, quiet=True).splitlines()
    ):
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    for name in ("index-url", "extra-index-url"):
        variable = os.environ.get("PIP_" + name.upper().replace("-", "_"))
        if variable is not None:
            found[name] = variable
    return found


def _by_pip(wheel: Wheel, part: Path) -> None:
    """Let pip download it: it knows logins, certificates and folders of files."""
    folder = part.with_suffix(".pip")
    folder.mkdir(exist_ok=True)
    try:
        requirement = f"{wheel.package}=={wheel.version}"
        _pip(
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(folder),
            requirement,
            timeout_s=_PIP_TIMEOUT_S,
        )
        (folder / wheel.file).replace(part)
    except FileNotFoundError as error:
        raise RegistryError(f"pip brought another file than {wheel.file}") from error
    finally:
        for leftover in folder.iterdir():
            leftover.unlink()
        folder.rmdir()


def _pip(*arguments: str, timeout_s: float, quiet: bool = False) -> str:
    """Run this interpreter's pip; its last line of complaint becomes the error, unless ``quiet``."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RegistryError("pip did not finish in time") from error
    if done.returncode and not quiet:
        complaint = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()
            or ["pip failed"]
        )
        raise RegistryError(complaint[-1].removeprefix("ERROR: "))
    return done.stdout if not done.returncode else ""


def _link(index: str, wheel: Wheel) -> str:
    """Address of the file, from the index's page on the package (PEP 503 and PEP 691)."""
    page_url = f"{index}/{wheel.package}/"
    with _open(page_url, {"Accept": f"{_JSON}, text/html;q=0.5"}) as answer:
        body = answer.read(_PAGE_LIMIT_BYTES)
        links = (
            _json_links(body)
            if "json" in answer.headers.get("Content-Type", "")
            else _html_links(body)
        )
        base = answer.url
    for link in links:
        if (
            urllib.parse.urlsplit(link).path.endswith(f"/{wheel.file}")
            or link.partition("#")[0] == wheel.file
        ):
            url = urllib.parse.urljoin(base, link)
            if _is_plain(url):
                return url
    raise RegistryError(f"{page_url} has no {wheel.file}")


def _json_links(body: bytes) -> list[str]:
    try:
        return [str(file["url"]) for file in json.loads(body)["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError("the registry's answer could not be understood") from error


def _html_links(body: bytes) -> list[str]:
    links: list[str] = []

    class Anchors(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value for name, value in attrs if tag == "a" and name == "href" and value)

    Anchors().feed(body.decode("utf-8", "replace"))
    return links


def _transfer(url: str, part: Path, on_progress: Callable[[int, int], None]) -> None:
    """Fetch into ``part``, from where it ends."""
    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except (
        RangeRefused
    ):  # nothing is left to send, or the part is of another file: the caller's hash decides
        return
    with answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if resumed else "wb") as file:
            have = _copy(answer, file.write, have, total, on_progress)
    if total and have < total:
        raise RegistryError(
            f"the transfer broke off after {have} of {total} bytes; the next try goes on from there"
        )


def _copy(
    answer: http.client.HTTPResponse,
    write: Callable[[bytes], object],
    have: int,
    total: int,
    on_progress: Callable[[int, int], None],
) -> int:
    while True:
        try:
            chunk = answer.read(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise RegistryError(
                f"the transfer broke off after {have} of {total} bytes; the next try goes on from there"
            ) from error
        if not chunk:
            return have
        write(chunk)
        have += len(chunk)
        on_progress(have, total)


class RangeRefused(Exception):
    """The server has nothing after the asked place (HTTP 416)."""


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(  # noqa: S310
        url, headers={"User-Agent": "voiceseparate-orchestrator", **headers}
    )
    host = urllib.parse.urlsplit(url).hostname
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - the same
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise RangeRefused from error
        raise RegistryError(f"{host} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise RegistryError(
            f"{host} could not be reached ({getattr(error, 'reason', error)})"
        ) from error
    return answer
