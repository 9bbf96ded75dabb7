"""Precedence of settings: defaults, source, rules, object, variant. Later layers win."""

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
    """Settings of one place in the manifest, by flat name: ``codec``, ``voice``, ``level`` ...

    Attributes:
        path: The place, for example ``("rules", 2)``.
        values: The settings.
    """

    path: Path
    values: Mapping[str, Any]


@dataclass(slots=True)
class Merged:
    """The settings that result from all layers.

    Attributes:
        values: By flat name; a name without a value is absent.
        sources: Path of the place that set each value.
        dropped: Reason for each value of an earlier layer that a later one made meaningless.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def drop(self, name: str, reason: str) -> None:
        """Remove the value of an earlier layer."""
        if self.values.pop(name, None) is not None:
            self.dropped[name] = reason
            self.sources.pop(name, None)

    def put(self, name: str, value: Any, path: Path) -> None:
        """Set a value that is written at ``path``."""
        self.values[name] = value
        self.sources[name] = path
        self.dropped.pop(name, None)


def data_path(name: str) -> tuple[str, ...]:
    """Return the path of a flat name inside settings: ``codec`` is under ``operation.audio``."""
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
    """Return the values that settings contain, by flat name."""
    values: dict[str, Any] = {name: getattr(settings, name) for name in _PLAIN}
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


def merge(layers: Iterable[Layer]) -> Merged:
    """Merge layers; the first has the lowest precedence."""
    merged = Merged()
    for layer in layers:
        values = layer.values
        if "template_id" in values:
            for name in _INLINE:
                merged.drop(name, "a template replaced the inline parameters")
        elif any(name in values for name in _INLINE):
            merged.drop("template_id", "inline parameters replaced the template")
        if values.get("codec", merged.values.get("codec")) != merged.values.get("codec"):
            _drop_for_codec(merged, values["codec"])
        for name, value in values.items():
            merged.put(name, value, layer.path)
    return merged


def _drop_for_codec(merged: Merged, codec: str) -> None:
    """Drop the bitrate, chosen for the old codec, and what the new codec does not support."""
    merged.drop("bitrate", f"it was set for another codec than {codec}")
    if merged.values.get("samplerate") not in CODECS[codec].samplerates_hz:
        merged.drop("samplerate", f"{codec} does not support the inherited sample rate")
    if merged.values.get("channels") not in CODECS[codec].channels:
        merged.drop("channels", f"{codec} does not support the inherited channel count")
