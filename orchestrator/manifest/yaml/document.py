"""One YAML file as plain data, with the place of every value.

The file is read as a stream of parser events (the C parser of libyaml), never through PyYAML's constructors: nothing in a manifest
can make an object, nesting is bounded (the C composer recurses and can be made to overflow), and a file with 100,000 inputs takes
about two seconds. All scalars stay the text that the user wrote (``no`` is "no", ``007`` is "007", ``22:00`` is "22:00"): the schema
decides where a number or a switch is meant. Only an empty value, ``~`` and ``null`` are None.

Places are not kept while loading (they would cost more than the data): :meth:`Document.spot` reads the file again when a fault
or an explanation needs one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import Fault, ManifestError
from orchestrator.manifest.yaml.composer import Builder, Spot

if TYPE_CHECKING:
    from array import array

Path = tuple[str | int, ...]
"""Where a value stands in a document: ``("inputs", 3, "level")``."""


class Mark(NamedTuple):
    """Line and column, from 1; zeros when the place is not known."""

    line: int = 0
    column: int = 0


@dataclass(slots=True)
class ItemLines:
    """For each top-level list, the line of each of its items, from 1."""

    by_key: dict[str, array[int]] = field(default_factory=dict)

    def line(self, key: str, index: int) -> int:
        """The line of ``key[index]``, or 0."""
        lines = self.by_key.get(key)
        return lines[index] if lines is not None and index < len(lines) else 0


class Document:
    """A parsed YAML file.

    Args:
        file: Its name, as messages show it.
        text: Its content.

    Attributes:
        data: The content as dicts, lists, strings and None. Aliased parts are shared: treat it as read-only.
        lines: Lines of the items of the top-level lists.

    Raises:
        ManifestError: If it is not YAML, or holds what a manifest must not hold.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        builder = Builder(file)
        builder.run(text)
        if builder.faults:
            raise ManifestError(builder.faults)
        self.data: Any = builder.result
        self.lines = ItemLines(builder.item_lines)

    @cached_property
    def _root(self) -> Spot:
        builder = Builder(self.file, with_spots=True)
        builder.run(self.text)
        return builder.root_spot or Spot(1, 1)

    def has(self, path: Path) -> bool:
        """Whether the file itself has a value at ``path``."""
        here: Any = self.data
        for step in path:
            try:
                here = here[step]
            except (TypeError, LookupError):
                return False
        return True

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Where the value at ``path`` stands, or the nearest thing around it that exists.

        Args:
            path: The place in the data.
            key: The place of the key instead of the value (for a key that should not be there).
        """
        spot = self._root
        for step in path:
            child = spot.child(step)
            if child is None:
                return Mark(spot.line, spot.column)
            spot = child
        return (
            Mark(spot.key_line or spot.line, spot.key_column or spot.column)
            if key
            else Mark(spot.line, spot.column)
        )


def render_path(path: Path) -> str:
    """``inputs[3].level``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def decode(file: str, raw: bytes) -> str:
    """The text of a file.

    Raises:
        ManifestError: If it is not UTF-8, naming the line of the first wrong byte.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = (
            f"Byte 0x{raw[error.start]:02x} is not UTF-8. Save the file with the encoding UTF-8."
        )
        raise ManifestError([Fault(message, file=file, line=line)]) from error
