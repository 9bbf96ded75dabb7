"""The JSON file beside a model: facts that the model does not state itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.errors import EngineMissing

if TYPE_CHECKING:
    from pathlib import Path


def sidecar_of(model: Path) -> Path:
    """Return its path: ``voc_ft.json`` for ``voc_ft.onnx``."""
    return model.with_suffix(".json")


def read_sidecar(model: Path, example: str) -> dict[str, Any] | None:
    """Read the JSON file beside a model; None if there is none.

    Args:
        model: The model.
        example: Its content, for messages.

    Raises:
        EngineMissing: It is not a JSON object.
    """
    path = sidecar_of(model)
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineMissing(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(values, dict):
        raise EngineMissing(f"{path} is not a JSON object; write for example: {example}")
    return values
