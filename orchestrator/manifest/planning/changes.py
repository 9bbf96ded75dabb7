"""Reasons why a job is a new one although the ledger knows its object: what differs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.spec import Stem
from orchestrator.domain.wording import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.spec import JobSpec

_OTHER_ENGINE = "another engine of the local service"


def changes(before: JobSpec, now: JobSpec) -> list[str]:
    """Return what differs in the identities of two jobs of one object, a phrase each."""
    old, new = _facts(before), _facts(now)
    found = [
        f"{name} {_value(old[name])} -> {_value(new[name])}"
        for name in new
        if old[name] != new[name]
    ]
    # The rest of an identity is the engine of the local service; a job only has its hash.
    return found or ([_OTHER_ENGINE] if before.key != now.key else [])


def nearest_change(known: Iterable[JobSpec], now: JobSpec) -> list[str]:
    """Return what differs from the known job that is most like this one."""
    return min((changes(before, now) for before in known), key=len, default=[])


def _facts(spec: JobSpec) -> dict[str, object]:
    """Return the parts of a job's identity besides the name of its object."""
    media, operation, output = spec.media, spec.operation, spec.output
    names = output.names()
    return {
        "etag": media.etag,
        "template": operation.template_id,
        "audio_mode": operation.audio_mode and operation.audio_mode.value,
        "codec": operation.audio.codec,
        "samplerate": operation.audio.samplerate,
        "bitrate": operation.audio.bitrate,
        "channels": operation.audio.channels,
        "bucket": output.bucket,
        "region": output.region,
        **{stem.value: names.get(stem) for stem in Stem},
    }


def _value(value: object) -> str:
    if value is None or value == "":
        return "none"
    return quoted(value) if isinstance(value, str) else str(value)
