"""Names that ``separate`` gives: they stay the same from call to call, and never collide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.durable import write_atomically
from orchestrator.errors import ConfigError
from orchestrator.manifest.local_buckets import bucket_name
from orchestrator.manifest.manifest import STEMS_BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterable

_RESERVED = frozenset({".orchestrator", ".service", ".separate.yaml"})


class StemNames:
    """Names in one output folder: that of each input's stems, and that of each folder's bucket.

    Args:
        file: Where they are kept.
        tops: Path of each input, by the name of its stems.
        buckets: Path of each folder, by its bucket.
        folder: The output folder.
    """

    def __init__(
        self, file: Path, tops: dict[str, str], buckets: dict[str, str], folder: Path
    ) -> None:
        self._file = file
        self._tops = tops
        self._buckets = buckets
        self._folder = folder

    @classmethod
    def load(cls, file: Path, folder: Path) -> StemNames:
        """Read the names of earlier calls.

        An input that was moved together with the output folder is the same input.

        Raises:
            ConfigError: If the file is damaged.
        """
        if not file.exists():
            return cls(file, {}, {}, folder)
        try:
            kept = orjson.loads(file.read_bytes())
            before = Path(kept["folder"])
            tops, buckets = (
                _present({str(name): str(path) for name, path in part.items()}, before, folder)
                for part in (kept["stems"], kept["buckets"])
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{file} is damaged. Choose another folder with -o DIR, or delete the file: then "
                "everything is made again, under new names."
            ) from error
        return cls(file, tops, buckets, folder)

    def save(self) -> None:
        """Keep the names for the next call."""
        kept = {"folder": str(self._folder), "stems": self._tops, "buckets": self._buckets}
        option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write_atomically(self._file, orjson.dumps(kept, option=option))

    def top(self, path: Path) -> str:
        """Return the name of an input's stems: its own name, numbered if that is taken."""
        known = next((name for name, other in self._tops.items() if other == str(path)), None)
        if known is not None:
            return known
        taken = {name.casefold() for name in (*self._tops, *_RESERVED)}
        # The service would fill in ${ext}, also in the middle of a name.
        plain = (path.name or "root").replace("${", "_{")
        name, number = plain, 1
        # What is there already, also a folder or a broken link, belongs to the user.
        while name.casefold() in taken or os.path.lexists(self._folder / name):
            number += 1
            name = f"{Path(plain).stem} ({number}){Path(plain).suffix}"
        self._tops[name] = str(path)
        return name

    def bucket(self, folder: Path) -> str:
        """Return the bucket of a folder."""
        known = next((name for name, other in self._buckets.items() if other == str(folder)), None)
        if known is None:
            known = bucket_name(folder, {*self._buckets, STEMS_BUCKET})
            self._buckets[known] = str(folder)
        return known

    def buckets(self) -> Iterable[tuple[str, str]]:
        """Return bucket and path of each folder that is there.

        Those of earlier calls are among them, because their jobs may still wait at the service.
        """
        return [
            (name, path)
            for name, path in self._buckets.items()
            if os.path.isdir(path)  # noqa: PTH112
        ]


def _present(paths: dict[str, str], before: Path, now: Path) -> dict[str, str]:
    """Return where paths are, by name: some may have moved together with the output folder.

    A path that is still there has not moved, and two names never get one path.
    """
    if before == now:
        return paths
    found = dict(paths)
    used = set(paths.values())
    for name, path in paths.items():
        moved = os.path.normpath(now / os.path.relpath(path, before))
        is_free = moved not in used and not os.path.lexists(path)
        if is_free and os.path.exists(moved):  # noqa: PTH110
            found[name] = moved
            used.add(moved)
    return found
