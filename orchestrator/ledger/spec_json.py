"""A job spec in the ledger: compact JSON, by position."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    Callback,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
    Place,
)


def encode_spec(spec: JobSpec) -> bytes:
    """Return all of the spec but its key as compact JSON; ``spec_of`` reads it back.

    A ledger holds millions of these: values have positions instead of names, and the output's place
    is left out if it is the input's. New fields go to the end of their list.
    """
    media, operation, output, callback, origin = (
        spec.media,
        spec.operation,
        spec.output,
        spec.callback,
        spec.origin,
    )
    audio = operation.audio
    is_same_place = output.bucket == media.bucket and output.region == media.region
    return orjson.dumps(
        (
            (media.bucket, media.region, media.key, media.etag, media.size_bytes, media.duration_s),
            (
                operation.template_id,
                operation.audio_mode,
                (audio.codec, audio.samplerate, audio.bitrate, audio.channels),
            ),
            None if is_same_place else (output.bucket, output.region),
            (output.voice, output.background, output.bass, output.drums),
            spec.level,
            spec.user_data,
            spec.queue_id,
            callback
            and (
                callback.url,
                callback.format,
                callback.type,
                callback.mq_region,
                callback.mq_mode,
                callback.mq_name,
            ),
            spec.group,
            (origin.file, origin.line, origin.source),
        )
    )


def spec_start(place: Place) -> str:
    """Return how ``encode_spec`` begins for every media object in ``place``, and for no other."""
    return orjson.dumps([[place.bucket, place.region]]).decode().removesuffix("]]") + ","


def spec_of(key: JobKey, parsed: list[Any]) -> JobSpec:
    """Return the spec that ``encode_spec`` wrote, from its parsed JSON."""
    (
        media,
        (template_id, mode, audio),
        place,
        names,
        level,
        user_data,
        queue_id,
        callback,
        group,
        origin,
    ) = parsed
    return JobSpec(
        key,
        MediaObject(*media),
        _operation(template_id, mode, *audio),
        Output(*(place or media[:2]), *names),
        level,
        user_data,
        queue_id,
        Callback(*callback) if callback else None,
        group,
        Origin(*origin),
    )


@lru_cache(1024)
def _operation(
    template_id: str,
    mode: str | None,
    codec: str | None,
    samplerate: int | None,
    bitrate: int | None,
    channels: int | None,
) -> Operation:
    """Return the operation of these values; a million jobs share a few."""
    return Operation(
        template_id,
        AudioMode(mode) if mode else None,
        AudioConfig(codec, samplerate, bitrate, channels),
    )
