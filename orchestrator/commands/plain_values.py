"""Content of a manifest that a program gives, as values that YAML can hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

from orchestrator.errors import Fault, ManifestError


def as_yaml(value: Any, path: str = "") -> Any:
    """Return a value in plain types: a path as text, a member of an enumeration as its value.

    Args:
        value: The value.
        path: Its place in the manifest, for example ``inputs[3].level``.

    Raises:
        ManifestError: If it is, or has, a value of another type.
    """
    if isinstance(value, Enum):
        return as_yaml(value.value, path)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {_key(key, path): as_yaml(each, _below(path, key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_yaml(each, f"{path}[{number}]") for number, each in enumerate(value)]
    return _scalar(value, path)


def _scalar(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool | date):
        return value
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)  # YAML refuses their subclasses, such as those of numpy
    raise ManifestError(
        [
            Fault(
                f"{value!r} is of the type {type(value).__name__}, which a manifest cannot hold. "
                "Write text, a number, true or false, a date, a path, a list or a mapping.",
                path=path,
            )
        ]
    )


def _key(key: Any, path: str) -> Any:
    """Return the key of a mapping, which must be a single value."""
    if isinstance(key, Enum | PurePath):
        return as_yaml(key, path)
    return _scalar(key, path)


def _below(path: str, key: Any) -> str:
    name = str(_key(key, path))
    return f"{path}.{name}" if path else name
