"""Messages for syntax errors of YAML, each with the next step."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

import yaml

from orchestrator.domain.wording import quoted
from orchestrator.errors import Fault

if TYPE_CHECKING:
    from yaml.error import Mark


# Typographic characters that web pages and word processors put in place of those that YAML reads.
# They look like quotes, spaces and colons, and YAML takes them as part of the text. Inside a text
# they are left alone: a file name may have an apostrophe of any kind.
_DOUBLE: Final = "\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02"
_SINGLE: Final = "\u2018\u2019\u201a\u201b\u2039\u203a\uff07"
_QUOTES: Final = _DOUBLE + _SINGLE
_ANY_QUOTES: Final = f"{_QUOTES}\"'"
_SPACES: Final = (
    "\u00a0\u00ad\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c"
    "\u200d\u200e\u200f\u202f\u205f\u2060\u3000\ufeff"
)
_COLON: Final = "\uff1a"
_KEY_LIKE = r"-?\s*[A-Za-z_][A-Za-z0-9_]*"
_NO_KEY = re.compile(rf"(?:{_KEY_LIKE}:|-)([{_SPACES}])|{_KEY_LIKE}({_COLON})")
"""A plain text that was to be a key or a list item."""
_IN_LINE = re.compile(
    rf"(?:[:,\[{{-]\s*|^\s*)([{_QUOTES}])|([{_QUOTES}])\s*(?:[:,\]}}#]|$)"
    rf"|(?:^[ \t]*|[:-] *)([{_SPACES}])|{_KEY_LIKE}({_COLON})"
)
"""Places of a line where such a character breaks the syntax."""


def value_fault(text: str, *, is_plain: bool) -> str:
    """Return what is wrong with the text of a value that is not ASCII, or an empty text.

    Args:
        text: The text.
        is_plain: It is written without quotes.
    """
    for char, place in ((text[0], "begins"), (text[-1], "ends")):
        if char in _SPACES:
            bare = text.strip(_SPACES + " ")
            return f"This text {place} with {_named(char)}. Remove it: {quoted(bare)}."
    if is_plain and (match := _NO_KEY.match(text)):
        return _structural(match[1] or match[2])
    if _is_wrapped(text):
        ends = dict.fromkeys(char for char in (text[0], text[-1]) if char in _QUOTES)
        marks = " and ".join(f"{char} U+{ord(char):04X}" for char in ends)
        bare = text.strip(_ANY_QUOTES)
        return (
            f"Typographic quotes ({marks}) are part of the text for YAML. "
            f'Use straight quotes: "{bare}".'
        )
    return ""


def key_fault(text: str) -> str:
    """Return what is wrong with a key that is not ASCII, or an empty text."""
    for char in text:
        if char in _SPACES or (char == _COLON and re.match(_KEY_LIKE, text)):
            return _structural(char)
    for char in (text[0], text[-1]):
        if char in _QUOTES:
            return _structural(char)
    return ""


def line_fault(line: str) -> tuple[str, int] | None:
    """Return what breaks the syntax of a line and its column, from 1; None if nothing does."""
    if line.isascii() or (match := _IN_LINE.search(line)) is None:
        return None
    number = next(number for number in range(1, 5) if match[number])
    return _structural(match[number]), match.start(number) + 1


def _is_wrapped(text: str) -> bool:
    """Return True if quotes of which one is typographic are around the whole text."""
    first, last = text[0], text[-1]
    if len(text) > 1 and first in _ANY_QUOTES and last in _ANY_QUOTES:
        return first in _QUOTES or last in _QUOTES
    # A lone double quote at one end is half of a pair that was split.
    is_lone = sum(char in _DOUBLE for char in text) == 1
    return is_lone and (first in _DOUBLE or last in _DOUBLE)


def _structural(char: str) -> str:
    straight = '"' if char in _DOUBLE else "'"
    if char in _SPACES:
        right = "a normal space" if unicodedata.category(char) == "Zs" else "nothing"
    else:
        right = 'a colon and a space ": "' if char == _COLON else f"a straight quote {straight}"
    return f"Here is {_named(char)}, which YAML takes as part of the text. Write {right} instead."


def _named(char: str) -> str:
    name = unicodedata.name(char, "a control character").lower()
    return f"U+{ord(char):04X} ({name})"


# libyaml names a problem only by its text, so the text selects the message.
_EXPLAINED = {
    "mapping values are not allowed": (
        "A colon is in a place where a key cannot begin. Put quotes around text that contains "
        "': ', or check the indentation."
    ),
    "did not find expected key": (
        "Expected a key here. Check the indentation of this line and the line before, and quotes "
        "and brackets."
    ),
    "could not find expected ':'": (
        "A key without a colon. Write 'key: value', with a space after the colon."
    ),
    "did not find expected '-' indicator": (
        "Expected a list item here. Items begin with '- ' in the same column."
    ),
    "did not find expected ',' or ']'": "A list in brackets is not closed, or a comma is missing.",
    "did not find expected ',' or '}'": (
        "A mapping in braces is not closed, or a comma is missing. Text that begins with { needs "
        "quotes around it."
    ),
    "found unexpected end of stream": (
        "The file ends in the middle of quoted text. Close the quotes."
    ),
    "found undefined tag handle": (
        "Manifests do not use tags (!...). Put quotes around text that begins with '!'."
    ),
    "control characters are not allowed": (
        "Here is a control character, which does not belong in a text file. Remove it."
    ),
    "block sequence entries are not allowed": (
        "A list item ('- ') cannot begin here. Put it on a separate line, under its key."
    ),
    "did not find expected alphabetic": (
        'Text that begins with * or & needs quotes around it: write "*.mp3", not *.mp3.'
    ),
    "did not find expected <document start>": (
        "Here is text after the end of the manifest. Check the indentation of this line."
    ),
    "found unknown escape character": (
        "A backslash begins an escape inside \"double quotes\". Use 'single quotes' around text "
        "with backslashes."
    ),
}


_UNQUOTED_BRACES = re.compile(r"[:-]\s+\{[^{}:]*\}[^\s,}\]#]")
"""``voice: {stem}/voice.mp3``"""


def tag_message(tag: str) -> str:
    """Return the message about ``!!python/object`` and other tags."""
    shown = quoted(tag.replace("tag:yaml.org,2002:", "!!"))
    return f"Manifests do not use tags such as {shown}, and never create objects. Remove the tag."


def syntax_fault(file: str, text: str, error: yaml.YAMLError) -> Fault:
    """Return an error of the parser as a fault with the next step."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(_unreadable(error), file=file)
    mark: Mark | None = error.problem_mark or error.context_mark
    problem = error.problem or "it cannot be read"
    if mark is None:
        return Fault(f"This is not YAML: {problem}.", file=file)
    line, column = mark.line + 1, mark.column + 1
    for near in (error.context_mark, mark):
        found = line_fault(_line(text, near.line)) if near is not None else None
        if near is not None and found is not None:
            return Fault(found[0], file, near.line + 1, found[1])
    tab = _tab_near(text, mark.line)
    if tab is not None:
        message = "The indentation has a tab. YAML allows only spaces there: replace it."
        return Fault(message, file, *tab)
    if any(_UNQUOTED_BRACES.search(_line(text, near)) for near in (mark.line, mark.line - 1)):
        message = "Text that begins with { needs quotes around it, or YAML reads it as a mapping."
        return Fault(message, file, line, column)
    advice = next((advice for part, advice in _EXPLAINED.items() if part in problem), None)
    message = f"This is not YAML: {problem}. Check this line and the line before."
    return Fault(advice or message, file, line, column)


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if 0 <= number < len(lines) else ""


def _unreadable(error: yaml.YAMLError) -> str:
    character = getattr(error, "character", None)
    if isinstance(character, int | str):
        code = character if isinstance(character, int) else ord(character[:1] or "\0")
        return f"The character U+{code:04X} is not allowed in a manifest. Remove it."
    return f"This is not YAML: {error}."


def _tab_near(text: str, line: int) -> tuple[int, int] | None:
    """Return line and column of a tab in the indentation of the marked line or the line before."""
    lines = text.splitlines()
    for number in (line, line - 1):
        if 0 <= number < len(lines):
            indentation = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
            if "\t" in indentation:
                return number + 1, indentation.index("\t") + 1
    return None
