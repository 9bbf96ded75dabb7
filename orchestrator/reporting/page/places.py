"""Addresses under which a page finds media files: beside it on this machine, or by signed links."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from orchestrator.domain.value_formats import LOCAL_BUCKET
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.reporting.row import FolderOf

_STEMS = ("voice", "background")


class Links(Protocol):
    """Signs links to objects of a remote service."""

    @property
    def expires_at(self) -> float:
        """End of the links' life, in seconds since the epoch."""
        ...

    def base(self, bucket: str, region: str) -> str:
        """Return the address that object names are appended to, with a slash at its end.

        Raises:
            ConfigError: If the bucket or region cannot be part of an address.
        """
        ...

    def signature(self, bucket: str, region: str, key: str) -> tuple[str, str]:
        """Return the query of an object's link without its signature, and the signature.

        Raises:
            ConfigError: As ``base``.
        """
        ...


class Places:
    """Places of media files; collects what the page must know of their buckets.

    Args:
        folder: Folder of the page.
        folder_of: Returns the folder of a bucket on this machine; None if they are elsewhere.
        links: Signs links, or None.
        is_served: The page and the files below ``/media/BUCKET/`` come from a server.
    """

    def __init__(
        self,
        folder: Path,
        folder_of: FolderOf | None,
        links: Links | None = None,
        *,
        is_served: bool = False,
    ) -> None:
        self._folder = folder
        self._folder_of = folder_of
        self._links = links
        self._is_served = is_served
        self._bases: dict[str, str] = {}
        self._query = ""

    @property
    def media_sources(self) -> tuple[str, ...]:
        """Sources of media, for the content security policy."""
        if self._links is None:
            return ("'self'", "file:") if self._folder_of else ()
        return tuple(dict.fromkeys(base.rstrip("/") for base in self._bases.values()))

    def note(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Note the buckets of a row; return the signatures of its links, if there are any.

        A row that was rejected for its bucket or region has no files that could be found.
        """
        signatures: dict[str, str] = {}
        for name, (bucket, region, key) in named_files(row).items():
            place = f"{bucket}/{region}"
            with suppress(ConfigError):
                if place not in self._bases and (base := self._base(bucket, region)):
                    self._bases[place] = base
                if self._links is not None:
                    self._query, signatures[name] = self._links.signature(bucket, region, key)
        return signatures

    def _base(self, bucket: str, region: str) -> str:
        if self._links is not None:
            return self._links.base(bucket, region)
        is_name = LOCAL_BUCKET.fullmatch(bucket) is not None
        if self._folder_of is None or not is_name or (folder := self._folder_of(bucket)) is None:
            return ""
        if self._is_served:
            return f"/media/{quote(bucket, safe='')}/"
        return relative_url(self._folder, Path(folder))

    def files(self, row: Mapping[str, Any]) -> dict[str, Path]:
        """Return the files of a row on this machine, by ``input``, ``voice``, ``background``."""
        if self._folder_of is None:
            return {}
        folders = {name: self._folder_of(place[0]) for name, place in named_files(row).items()}
        return {
            name: Path(f"{folders[name]}/{key}")
            for name, (_, _, key) in named_files(row).items()
            if folders[name] is not None
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what the page must know, ready for JSON."""
        links = None
        if self._links is not None:
            links = {"query": self._query, "expires_at": round(self._links.expires_at * 1000)}
        return {"bases": self._bases, "links": links}


def named_files(row: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return bucket, region and name of the files of a row: the input, and the stems it has."""
    media, output = row["input"], row["output"]
    found = {"input": (media["bucket"], media["region"], media["object"])}
    for file in row["files"]:
        if file["stem"] in _STEMS and file["object"]:
            found[file["stem"]] = (output["bucket"], output["region"], file["object"])
    return found


def relative_url(start: Path, folder: Path) -> str:
    """Return the address of a folder, seen from a page in the folder ``start``.

    Page and media stay together if both are moved. So links are followed first; but not if the
    browser, which joins addresses without looking at links, would then not find the folder.
    """
    shown = Path(os.path.abspath(start))  # noqa: PTH100 - a link keeps its name
    real = os.path.relpath(folder.resolve(), shown.resolve())
    joined = Path(os.path.normpath(shown / real))
    is_found = joined.resolve() == folder.resolve()
    path = real if is_found else os.path.relpath(os.path.abspath(folder), shown)  # noqa: PTH100
    return f"{quote(path, safe='/')}/"
