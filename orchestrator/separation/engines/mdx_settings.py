"""Facts about an MDX-Net file that it does not state itself, from the JSON file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.sidecar import read_sidecar, sidecar_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SHORTEST, _LONGEST = 2048, 1 << 16
"""Samples of a frame: at least two hops."""
N_FFT, _COMPENSATE, _STEM = "mdx_n_fft_scale_set", "compensate", "primary_stem"
_STEMS: Final = {"Vocals": True, "Instrumental": False}
"""Stems that a file may estimate; True for the voice."""


@dataclass(frozen=True, slots=True)
class MdxSettings:
    """Facts about a file that it does not state itself.

    Attributes:
        n_fft: Samples of a frame.
        compensate: Factor that brings the estimate to its true level.
        gives_voice: The estimate is the voice; else it is the background.
    """

    n_fft: int
    compensate: float = 1.0
    gives_voice: bool = True


def read_settings(model: Path) -> MdxSettings:
    """Read the JSON file beside a model: ``voc_ft.json`` for ``voc_ft.onnx``.

    Raises:
        EngineMissing: It is missing, or not valid.
    """
    path = sidecar_of(model)
    example = f'{{"{N_FFT}": 7680, "{_COMPENSATE}": 1.021, "{_STEM}": "Vocals"}}'
    values = read_sidecar(model, example)
    if values is None:
        raise EngineMissing(
            f"The engine {model} is an MDX-Net file, and needs a file {path.name} beside it, with "
            f"the values that its publisher states, for example: {example}"
        )
    return MdxSettings(
        _valid(path, values, N_FFT, _is_frame),
        _valid(path, values, _COMPENSATE, _is_factor, 1.0),
        _STEMS[_valid(path, values, _STEM, lambda one: one in _STEMS, "Vocals")],
    )


def _valid(
    path: Path, values: dict[str, Any], key: str, is_valid: Callable[[Any], bool], *default: Any
) -> Any:
    value = values.get(key, *default)
    if isinstance(value, bool | list | dict) or not is_valid(value):
        limits = {
            N_FFT: f"an even number from {_SHORTEST} to {_LONGEST}",
            _COMPENSATE: "a number from 0.1 to 10",
            _STEM: " or ".join(_STEMS),
        }
        raise EngineMissing(f"{path}: {key} is {value!r}; it must be {limits[key]}.")
    return value


def _is_frame(value: Any) -> bool:
    return isinstance(value, int) and _SHORTEST <= value <= _LONGEST and value % 2 == 0


def _is_factor(value: Any) -> bool:
    return isinstance(value, int | float) and 0.1 <= value <= 10
