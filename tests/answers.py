"""Comparison of the answers of two ledgers."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from orchestrator.errors import OrchestratorError


def plain(answer: Any) -> Any:
    """Return an answer as comparable values; jobs themselves do not compare equal."""
    if isinstance(answer, OrchestratorError):
        return type(answer)
    if isinstance(answer, list):
        return [plain(entry) for entry in answer]
    if isinstance(answer, tuple):
        return tuple(plain(entry) for entry in answer)
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    names = _field_names(answer.__class__)
    return tuple(plain(getattr(answer, name)) for name in names) if names else answer


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass; none of any other type."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
