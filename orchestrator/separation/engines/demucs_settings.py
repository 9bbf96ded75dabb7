"""The stems of a Demucs file, in their order: from the file, its JSON file, or by their number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.sidecar import read_sidecar, sidecar_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DEFAULTS: Final = {
    4: ("drums", "bass", "other", "vocals"),
    6: ("drums", "bass", "other", "vocals", "guitar", "piano"),
}
"""Orders of the published models (``htdemucs`` and ``htdemucs_6s``)."""
_VOICE: Final = "vocals"
_STEMS, _SAMPLES = "stems", "samples"
_NOTES: Final = (_STEMS, "sources")
"""Keys of the metadata of a file that may list its stems."""
_RATES: Final = ("samplerate", "sample_rate")
_RATE_HZ: Final = "44100"
_MOST_SAMPLES: Final = 60 * 44100


@dataclass(frozen=True, slots=True)
class DemucsSettings:
    """Facts about a file.

    Attributes:
        names: Its stems, in their order.
        samples: Samples of a chunk, if the file leaves them open.
    """

    names: tuple[str, ...]
    samples: int | None = None


def read_demucs_settings(
    model: Path, notes: Mapping[str, str], count: int | None
) -> DemucsSettings:
    """Return the stems of a file, and the length of its chunks.

    Args:
        model: The file.
        notes: Its metadata.
        count: Number of its stems, if its shape states it.

    Raises:
        EngineMissing: They are not known, or do not fit to its shape.
    """
    for key in _RATES:
        if notes.get(key, _RATE_HZ) != _RATE_HZ:
            raise EngineMissing(
                f"{model} works at {notes[key]} Hz; only engines of {_RATE_HZ} Hz can be used."
            )
    example = '{"stems": ["drums", "bass", "other", "vocals"]}'
    values = read_sidecar(model, example) or {}
    samples = values.get(_SAMPLES)
    if samples is not None and not _is_length(samples):
        raise EngineMissing(
            f"{sidecar_of(model)}: {_SAMPLES} is {samples!r}; it must be a number from 4096 to "
            f"{_MOST_SAMPLES}, even and without quotes."
        )
    stated = values.get(_STEMS) or _noted(notes)
    names = stated or _DEFAULTS.get(count or 4)
    if names is None:
        raise EngineMissing(
            f"{model} has {count} stems, and does not name them. Name them in their order in "
            f"{sidecar_of(model).name} beside it, for example: {example}"
        )
    return DemucsSettings(_valid(model, names, count), samples)


def _noted(notes: Mapping[str, str]) -> Any:
    """Return the stems that the metadata lists: a JSON list, or names with commas."""
    text = next((notes[key] for key in _NOTES if notes.get(key)), "")
    try:
        return json.loads(text)
    except ValueError:
        return [name.strip(" '\"[]()") for name in text.split(",")] if text else None


def _valid(model: Path, names: Any, count: int | None) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        fault = "it must be a list of names"
    elif len(names) != (count or len(names)):
        fault = f"the file has {count} stems"
    elif len(set(names)) < len(names):
        fault = "a name is there twice"
    elif _VOICE not in names:
        fault = f'one of them must be "{_VOICE}", the voice'
    else:
        return tuple(names)
    shown = json.dumps(names)[:200]
    raise EngineMissing(
        f"The stems of {model} are {shown}; {fault}. Correct {_STEMS} in "
        f"{sidecar_of(model).name} beside it."
    )


def _is_length(value: Any) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and 4096 <= value <= _MOST_SAMPLES and value % 2 == 0
