"""One YAML file as plain data, with the place of every value.

The file is read as a stream of parser events from libyaml, never through PyYAML's constructors. So
nothing in a manifest can create an object, nesting is bounded (libyaml's composer recurses and can
overflow), and a file with 100,000 inputs takes about two seconds. Scalars stay text as written
(``no`` is "no", ``007`` is "007", ``22:00`` is "22:00"); the schema decides where a number is
expected. Only an empty value, ``~`` and ``null`` are None.

Places would cost more memory than the data, so they are not kept. :meth:`Document.mark` reads the
file again when a fault or an explanation needs a place.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import Fault, ManifestError
from orchestrator.manifest.yaml.composer import Builder, Spot

if TYPE_CHECKING:
    from array import array

Path = tuple[str | int, ...]
"""Path of a value in a document: ``("inputs", 3, "level")``."""


class Mark(NamedTuple):
    """Line and column, from 1; zeros if the place is unknown."""

    line: int = 0
    column: int = 0


class Document:
    """A parsed YAML file.

    Args:
        file: Its name in messages.
        text: Its content.

    Attributes:
        data: The content as dicts, lists, strings and None. Aliases share parts: do not change it.

    Raises:
        ManifestError: If it is not YAML, or uses a part of YAML that manifests do not have.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        builder = Builder(file)
        builder.run(text)
        if builder.faults:
            raise ManifestError(builder.faults)
        self.data: Any = builder.result
        self._item_lines: dict[str, array[int]] = builder.item_lines

    @cached_property
    def _root(self) -> Spot:
        builder = Builder(self.file, with_spots=True)
        builder.run(self.text)
        return builder.root_spot or Spot(1, 1)

    def has(self, path: Path) -> bool:
        """Return True if the file itself has a value at ``path``."""
        here: Any = self.data
        for step in path:
            try:
                here = here[step]
            except (TypeError, LookupError):
                return False
        return True

    def item_line(self, key: str, index: int) -> int:
        """Return the line of ``key[index]`` of a top-level list, from 1; 0 if unknown."""
        lines = self._item_lines.get(key)
        return lines[index] if lines is not None and index < len(lines) else 0

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return the place of the value at ``path``, or of the nearest value around it.

        Args:
            path: Path in the data.
            key: Return the place of the key instead (for an unknown key).
        """
        spot = self._root
        for step in path:
            child = spot.child(step)
            if child is None:
                return Mark(spot.line, spot.column)
            spot = child
        if key:
            return Mark(spot.key_line or spot.line, spot.key_column or spot.column)
        return Mark(spot.line, spot.column)


def render_path(path: Path) -> str:
    """Return a path as text: ``inputs[3].level``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def decode(file: str, raw: bytes) -> str:
    """Return the text of a file.

    Raises:
        ManifestError: If it is not UTF-8, with the line of the first wrong byte.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"Byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        raise ManifestError([Fault(message, file=file, line=line)]) from error
