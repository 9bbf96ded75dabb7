"""Answers of two ledgers, side by side."""

from __future__ import annotations

from dataclasses import astuple, is_dataclass
from typing import Any

from orchestrator.errors import OrchestratorError


def plain(answer: Any) -> Any:
    """An answer as comparable values; jobs have no equality of their own."""
    if isinstance(answer, OrchestratorError):
        return type(answer)
    if isinstance(answer, list):
        return [plain(entry) for entry in answer]
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    return astuple(answer) if is_dataclass(answer) and not isinstance(answer, type) else answer
