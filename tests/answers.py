"""Comparison of the answers of two ledgers."""

from __future__ import annotations

from dataclasses import astuple, is_dataclass
from typing import Any

from orchestrator.errors import OrchestratorError


def plain(answer: Any) -> Any:
    """Return an answer as comparable values; jobs themselves do not compare equal."""
    if isinstance(answer, OrchestratorError):
        return type(answer)
    if isinstance(answer, list):
        return [plain(entry) for entry in answer]
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    return astuple(answer) if is_dataclass(answer) and not isinstance(answer, type) else answer
