"""Laying settings over each other: defaults, source, rules, object, variant. Later wins; where each value came from is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.domain.audio_formats import CODECS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.manifest.schema.job_settings import VariantSettings
    from orchestrator.manifest.yaml.document import Path

AUDIO = ("codec", "samplerate", "bitrate", "channels")
STEMS = ("voice", "background", "bass", "drums")
_PLAIN = ("level", "user_data", "queue_id", "callback", "group")
_INLINE = ("audio_mode", *AUDIO)


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place of the manifest says, flat: ``codec``, ``voice``, ``level`` ...

    Attributes:
        path: The place, ``("rules", 2)``.
        values: What is said there.
    """

    path: Path
    values: Mapping[str, Any]


@dataclass(slots=True)
class Laid:
    """The settings that hold in the end.

    Attributes:
        values: By flat name; a name without a value is not there.
        sources: For each value, the path of the place that said it.
        dropped: For values that an earlier layer gave and a later one made meaningless: why.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def drop(self, name: str, why: str) -> None:
        """Take back what an earlier layer said."""
        if self.values.pop(name, None) is not None:
            self.dropped[name] = why
            self.sources.pop(name, None)

    def put(self, name: str, value: Any, path: Path) -> None:
        """Say something, at a place."""
        self.values[name] = value
        self.sources[name] = path
        self.dropped.pop(name, None)


def data_path(name: str) -> tuple[str, ...]:
    """Where a flat name stands inside settings: ``codec`` under ``operation.audio``."""
    if name in AUDIO:
        return ("operation", "audio", name)
    if name in {"template_id", "audio_mode"}:
        return ("operation", name)
    if name in STEMS:
        return ("output", name)
    if name in {"output_bucket", "output_region"}:
        return ("output", name.removeprefix("output_"))
    return (name,)


def flat(settings: VariantSettings) -> dict[str, Any]:
    """What settings say, by flat name."""
    values: dict[str, Any] = {
        name: value for name in _PLAIN if (value := getattr(settings, name)) is not None
    }
    operation, output = settings.operation, settings.output
    if operation is not None:
        values["template_id"] = operation.template_id
        values["audio_mode"] = operation.audio_mode
        if operation.audio is not None:
            values.update((name, getattr(operation.audio, name)) for name in AUDIO)
    if output is not None:
        values["output_bucket"] = output.bucket
        values["output_region"] = output.region
        values.update((name, getattr(output, name)) for name in STEMS)
    return {name: value for name, value in values.items() if value is not None}


def lay(layers: Iterable[Layer]) -> Laid:
    """Lay settings over each other, the first at the bottom."""
    laid = Laid()
    for layer in layers:
        said = layer.values
        if "template_id" in said:
            for name in _INLINE:
                laid.drop(name, "a template replaced the inline parameters")
        elif any(name in said for name in _INLINE):
            laid.drop("template_id", "inline parameters replaced the template")
        if said.get("codec", laid.values.get("codec")) != laid.values.get("codec"):
            _change_codec(laid, said)
        for name, value in said.items():
            laid.put(name, value, layer.path)
    return laid


def _change_codec(laid: Laid, said: Mapping[str, Any]) -> None:
    """Inherited numbers were chosen for the old codec: the bitrate goes, and what the new codec cannot have."""
    codec = said["codec"]
    laid.drop("bitrate", f"it was meant for another codec than {codec}")
    if laid.values.get("samplerate") not in CODECS[codec].samplerates_hz:
        laid.drop("samplerate", f"{codec} cannot have the inherited sample rate")
    if laid.values.get("channels") not in CODECS[codec].channels:
        laid.drop("channels", f"{codec} cannot have the inherited channel count")
