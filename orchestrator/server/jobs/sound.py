"""``AudioMode`` and ``AudioConfig`` of a job or a template."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.audio_formats import check_audio
from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.domain.wording import listed
from orchestrator.server.http import xml
from orchestrator.server.http.errors import invalid_argument

if TYPE_CHECKING:
    from orchestrator.server.http.xml import Node, Written

_NODES = ("Codec", "Samplerate", "Bitrate", "Channels")
_NUMBERS = {"Samplerate": "samplerate", "Bitrate": "bitrate", "Channels": "channels"}


@dataclass(frozen=True)
class Sound:
    """Checked ``AudioMode`` and ``AudioConfig``.

    The jobs of a library share a handful of them, so each is written once.

    Attributes:
        mode: AudioMode.
        audio: AudioConfig.
        echo: Nodes of ``VoiceSeparate`` that echo them; empty for a job with a template.
    """

    mode: AudioMode
    audio: AudioConfig
    echo: dict[str, Any]

    @functools.cached_property
    def element(self) -> Written | str:
        """The element that echoes them; empty without ``echo``."""
        return xml.element("VoiceSeparate", self.echo) if self.echo else ""

    @functools.cached_property
    def stored(self) -> dict[str, Any]:
        """Their part of the stored form of a job."""
        parts: dict[str, Any] = {"inline": self.echo} if self.echo else {}
        parts |= {"mode": self.mode.value, "audio": self.audio}
        return {name: orjson.Fragment(orjson.dumps(part)) for name, part in parts.items()}

    @functools.cached_property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems that are made."""
        return tuple(stem.value for stem in self.mode.stems)


def read_sound(node: Node, *, mode_required: bool) -> Sound:
    """Parse ``AudioMode`` and ``AudioConfig`` below a node of a job or a template.

    Raises:
        Refusal: ``InvalidArgument``.
    """
    audio = node.find("AudioConfig")
    given = [xml.value(audio, name) for name in _NODES]
    mode = xml.value(node, "AudioMode")
    if mode_required and not mode:
        raise invalid_argument(f"AudioMode is required: {listed(AudioMode)}.")
    return _sound(mode, *given)


@functools.lru_cache(256)  # the jobs of a library have a handful of them
def _sound(text: str, *given: str) -> Sound:
    """Return the checked sound of an ``AudioMode`` and the values of ``_NODES``."""
    try:
        mode = AudioMode(text or AudioMode.AUDIO_AND_BACKGROUND)
    except ValueError:
        raise invalid_argument(
            f"AudioMode {text[:40]!r} is not valid: use {listed(AudioMode)}."
        ) from None
    echo: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, value in zip(_NODES, given, strict=True):
        if value:
            echo[name] = value
            values[_NUMBERS.get(name, "codec")] = (
                _number(name, value) if name in _NUMBERS else value.lower()
            )
    config = AudioConfig(**values)
    fault = check_audio(mode, config)
    if fault:
        raise invalid_argument(fault)
    return Sound(mode, config, {"AudioMode": mode.value, "AudioConfig": echo or None})


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise invalid_argument(f"{name} is {text[:40]!r}; it must be a whole number.")
    return int(text)
