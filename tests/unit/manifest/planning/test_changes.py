"""Reasons why a job is another one than those that are known of its object."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Output,
)
from orchestrator.manifest.planning.changes import changes, nearest_change
from orchestrator.manifest.planning.planner import job_key

MEDIA = MediaObject("media-1250000000", "ap-chongqing", "in/a.mp3", "one")
OPERATION = Operation(audio_mode=AudioMode.IS_AUDIO, audio=AudioConfig("mp3"))
OUTPUT = Output("media-1250000000", "ap-chongqing", voice="v.mp3")
SPEC = JobSpec(JobKey("v1.a"), MEDIA, OPERATION, OUTPUT)


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("media", {"etag": "two"}, 'etag "one" -> "two"'),
        ("media", {"etag": ""}, 'etag "one" -> none'),
        ("operation", {"template_id": "t1"}, 'template none -> "t1"'),
        (
            "operation",
            {"audio_mode": AudioMode.MUSIC_MODE},
            'audio_mode "IsAudio" -> "MusicMode"',
        ),
        ("operation", {"audio": AudioConfig("wav")}, 'codec "mp3" -> "wav"'),
        ("operation", {"audio": AudioConfig("mp3", 8000)}, "samplerate none -> 8000"),
        ("output", {"voice": "x.mp3"}, 'voice "v.mp3" -> "x.mp3"'),
        ("output", {"region": "ap-beijing"}, 'region "ap-chongqing" -> "ap-beijing"'),
    ],
)
def test_a_reason_names_what_differs(part: str, change: dict[str, Any], reason: str) -> None:
    now = replace(SPEC, **{part: replace(getattr(SPEC, part), **change)})

    assert changes(SPEC, now) == [reason]


def test_whatever_changes_the_identity_is_a_reason() -> None:
    other = {str: "other", "str | None": "other", "int | None": 7}
    for part in ("media", "operation", "output"):
        value = getattr(SPEC, part)
        for each in fields(value):
            if each.name in {"bucket", "region", "key"} and part == "media":
                continue
            new: Any = {
                "audio_mode": AudioMode.MUSIC_MODE,
                "audio": AudioConfig("wav"),
            }.get(each.name, other.get(str(each.type), "other"))
            changed = replace(SPEC, **{part: replace(value, **{each.name: new})})
            is_other = job_key(MEDIA, OPERATION, OUTPUT) != job_key(
                changed.media, changed.operation, changed.output
            )
            assert bool(changes(SPEC, changed)) is is_other, each.name


def test_the_nearest_known_job_gives_the_reason() -> None:
    far = replace(SPEC, output=Output("b", "r", voice="x"), media=replace(MEDIA, etag="0"))
    now = replace(SPEC, media=replace(MEDIA, etag="two"))

    assert nearest_change([far, SPEC], now) == ['etag "one" -> "two"']
    assert nearest_change([], now) == []


def test_a_job_that_differs_in_nothing_else_has_another_engine() -> None:
    now = replace(SPEC, key=job_key(MEDIA, OPERATION, OUTPUT, "a hash"))
    assert now.key != job_key(MEDIA, OPERATION, OUTPUT)
    assert changes(SPEC, now) == ["another engine of the local service"]
    assert changes(SPEC, SPEC) == []
