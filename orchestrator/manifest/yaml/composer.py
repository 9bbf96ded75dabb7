"""Plain data from the parser's events, in one loop, without recursion or constructors."""

from __future__ import annotations

import gc
from array import array
from typing import Any

import yaml

from orchestrator.domain.wording import nearest_word, quoted
from orchestrator.errors import Fault
from orchestrator.manifest.yaml import syntax_errors

MAX_DEPTH = 40
"""Levels of nesting; the deepest valid manifest has eight."""
MAX_ALIAS_NODES = 100_000
"""Values that aliases may expand to; people write a few hundred."""
MAX_YAML_FAULTS = 50
"""Faults of the YAML itself that are reported at once."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_STANDARD_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(
    _STANDARD_TAG + name
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")
)
_NO_KEY = object()
_MERGE = "<<"


class Spot:
    """Place of a value and its key, with the places of the values inside it. Counted from 1."""

    __slots__ = ("column", "inner", "key_column", "key_line", "line")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.key_line = 0
        self.key_column = 0
        self.inner: dict[str | int, Spot] | None = None

    def child(self, step: str | int) -> Spot | None:
        """Return the place of one value inside."""
        return self.inner.get(step) if self.inner else None

    def add(self, step: str | int, spot: Spot) -> None:
        """Set the place of one value inside."""
        if self.inner is None:
            self.inner = {}
        self.inner[step] = spot


class _Frame:
    """A list or mapping that is not complete yet."""

    __slots__ = ("anchor", "data", "event", "key", "key_event", "size", "spot")

    def __init__(self, data: Any, event: Any) -> None:
        self.data = data
        self.event = event
        self.anchor: str | None = event.anchor
        self.key: Any = _NO_KEY
        self.key_event: Any = None
        self.size = 1
        self.spot: Spot | None = None


class Builder:
    """Builds the data of one document and, if asked, the tree of places.

    Args:
        file: Name for faults.
        with_spots: Build ``root_spot`` too.

    Attributes:
        result: The data.
        faults: Faults of the YAML.
        item_lines: Line of each item of each top-level list.
        root_spot: The places, if asked for.
    """

    def __init__(self, file: str, *, with_spots: bool = False) -> None:
        self.file = file
        self.with_spots = with_spots
        self.result: Any = None
        self.faults: list[Fault] = []
        self.item_lines: dict[str, array[int]] = {}
        self.root_spot: Spot | None = None
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, Spot | None]] = {}
        self._alias_nodes = 0
        self._documents = 0
        self._stopped = False

    def run(self, text: str) -> None:
        """Read the whole text."""
        # A million small objects stay alive, so each collection would take longer than the one
        # before: pause the collector.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            self._loop(text)
        except yaml.YAMLError as error:
            self.faults = [syntax_errors.syntax_fault(self.file, text, error)]
        finally:
            if was_enabled:
                gc.enable()

    def _loop(self, text: str) -> None:
        next_event = yaml.CSafeLoader(text).get_event
        actions = {
            yaml.ScalarEvent: self._on_scalar,
            yaml.MappingStartEvent: self._on_start,
            yaml.SequenceStartEvent: self._on_start,
            yaml.MappingEndEvent: self._on_end,
            yaml.SequenceEndEvent: self._on_end,
            yaml.AliasEvent: self._on_alias,
            yaml.DocumentStartEvent: self._on_document,
        }
        while (event := next_event()) is not None and not self._stopped:
            action = actions.get(type(event))
            if action is not None:
                action(event)

    # --- one event each

    def _on_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents == 2:
            self._fault(
                event,
                "A second document begins here (---). A manifest is one document: "
                "remove the line, or make two files.",
            )
            self._stopped = True

    def _on_scalar(self, event: Any) -> None:
        tag = event.tag
        if tag is not None and tag not in _PLAIN_TAGS and tag != "!":
            self._fault(event, syntax_errors.tag_message(tag))
        text = event.value
        value = None if text in _NULLS and event.implicit[0] else text
        if not text.isascii():
            self._check_typography(text, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1, self._spot(event))
        self._add(value, event, 1, None)

    def _check_typography(self, text: str, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.data, dict) and frame.key is _NO_KEY:
            fault = syntax_errors.key_fault(text)
        else:
            fault = syntax_errors.value_fault(text, is_plain=event.implicit[0])
        if fault:
            self._fault(event, fault)

    def _on_start(self, event: Any) -> None:
        tag = event.tag
        if tag is not None and tag not in _PLAIN_TAGS:
            self._fault(event, syntax_errors.tag_message(tag))
        if len(self._stack) >= MAX_DEPTH:
            self._fault(
                event,
                f"Nested more than {MAX_DEPTH} levels deep, more than any manifest needs. "
                "Look for an unclosed bracket.",
            )
            self._stopped = True
            return
        frame = _Frame({} if isinstance(event, yaml.MappingStartEvent) else [], event)
        frame.spot = self._spot(event)
        self._stack.append(frame)

    def _on_end(self, event: Any) -> None:  # noqa: ARG002  # the actions share one signature
        frame = self._stack.pop()
        if isinstance(frame.data, dict) and _MERGE in frame.data:
            self._merge(frame)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.data, frame.size, frame.spot)
        self._add(frame.data, frame.event, frame.size, frame.spot)

    def _on_alias(self, event: Any) -> None:
        name = event.anchor
        known = self._anchors.get(name)
        if known is None:
            if any(frame.anchor == name for frame in self._stack):
                self._fault(
                    event,
                    f"*{name} is inside the value that it names, which would contain itself. "
                    "Remove it.",
                )
            else:
                self._fault(
                    event,
                    f"*{name} has no target: no earlier value is marked &{name}.",
                    nearest_word(name, self._anchors),
                )
            known = (None, 1, None)
        value, size, spot = known
        self._alias_nodes += size
        if self._alias_nodes > MAX_ALIAS_NODES:
            text = f"Aliases expand to more than {MAX_ALIAS_NODES:,} values here (*{name})."
            self._fault(event, f"{text} Write the objects into a list file instead.")
            self._stopped = True
            return
        self._add(value, event, size, spot)

    # --- values

    def _add(self, value: Any, event: Any, size: int, inner: Spot | None) -> None:
        if not self._stack:
            self.result = value
            self.root_spot = inner or self._spot(event)
            return
        frame = self._stack[-1]
        frame.size += size
        data = frame.data
        if isinstance(data, list):
            if len(self._stack) == 2 and isinstance(self._stack[0].key, str):
                lines = self.item_lines.setdefault(self._stack[0].key, array("I"))
                lines.append(event.start_mark.line + 1)
            if frame.spot is not None:
                frame.spot.add(len(data), self._placed(event, inner))
            data.append(value)
        elif frame.key is _NO_KEY:
            self._take_key(frame, value, event)
        else:
            self._put(frame, value, event, inner)

    def _take_key(self, frame: _Frame, value: Any, event: Any) -> None:
        if not isinstance(value, str):
            found = "empty" if value is None else "a list or mapping"
            self._fault(
                event,
                f'A key must be a word; this one is {found}. Write "key: value", '
                "with quotes around text that begins with { or [.",
            )
            value = f"#{len(frame.data)}"
        elif value in frame.data:
            first = frame.data[value]
            again = " (with the same value)" if first is not None and first == value else ""
            text = f"This mapping has the key {quoted(value)} twice{again}."
            self._fault(event, f"{text} One of them would be ignored: remove or rename it.")
        frame.key = value
        frame.key_event = event

    def _put(self, frame: _Frame, value: Any, event: Any, inner: Spot | None) -> None:
        frame.data[frame.key] = value
        if frame.spot is not None:
            spot = self._placed(event, inner)
            mark = frame.key_event.start_mark
            spot.key_line, spot.key_column = mark.line + 1, mark.column + 1
            frame.spot.add(frame.key, spot)
        frame.key = _NO_KEY

    def _merge(self, frame: _Frame) -> None:
        """Merge ``<<: *other``: take the keys that this mapping does not have."""
        merged = frame.data.pop(_MERGE)
        spot = frame.spot.child(_MERGE) if frame.spot is not None else None
        several = isinstance(merged, list)
        for index, other in enumerate(merged if several else [merged]):
            if not isinstance(other, dict):
                message = "<< needs an earlier mapping that is marked with &, or a list of them."
                self._fault(frame.event, message)
                continue
            other_spot = spot.child(index) if spot is not None and several else spot
            for key, value in other.items():
                if key not in frame.data:
                    frame.data[key] = value
                    if (
                        frame.spot is not None
                        and other_spot is not None
                        and (place := other_spot.child(key)) is not None
                    ):
                        frame.spot.add(key, place)

    # --- places

    def _spot(self, event: Any) -> Spot | None:
        if not self.with_spots:
            return None
        return Spot(event.start_mark.line + 1, event.start_mark.column + 1)

    def _placed(self, event: Any, inner: Spot | None) -> Spot:
        """Return the place of this event, with the places inside the value (shared by aliases)."""
        spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        spot.inner = inner.inner if inner is not None else None
        return spot

    def _fault(self, event: Any, message: str, hint: str = "") -> None:
        mark = event.start_mark
        self.faults.append(Fault(message, self.file, mark.line + 1, mark.column + 1, hint=hint))
        if len(self.faults) >= MAX_YAML_FAULTS:
            self._stopped = True
