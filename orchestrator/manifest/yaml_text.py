"""Text of values in a manifest that the program writes itself."""

from __future__ import annotations

import re

import orjson

_PLAIN = re.compile(r"[A-Za-z_/~.][A-Za-z0-9_/~.-]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"})


def scalar(text: str) -> str:
    """Return text as one YAML value, in quotes where it needs them."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return orjson.dumps(text).decode()  # a JSON text is a YAML text


def literal(text: str) -> str:
    """Return text as a template that means just this text."""
    return text.replace("{", "{{").replace("}", "}}")


def exact_glob(text: str) -> str:
    """Return a glob that matches only this text."""
    return literal(re.sub(r"([*?[])", r"[\1]", text))
