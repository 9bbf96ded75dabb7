"""What can be said of a job anywhere in the manifest: in defaults, at a source, in a rule, at one object, in a variant of a matrix."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from orchestrator.domain import audio_formats
from orchestrator.domain.wording import did_you_mean, listed, quoted
from orchestrator.manifest.schema import vendor_limits
from orchestrator.manifest.schema.value_types import Integer, Loose, Text, refuse

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{0,48}-[0-9]{5,12}")
_VARIANT = re.compile(r"[\w-]{1,64}")
_REGION = re.compile(r"[a-z]{2,10}(-[a-z0-9]{1,20}){1,3}")


class Part(BaseModel):
    """A mapping of the manifest: unknown keys are faults, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def _one_of(value: Any, allowed: tuple[int, ...], what: str) -> int:
    if value not in allowed:
        refuse(f"{value} is no {what} of this service. Allowed: {listed(allowed)}.")
    return int(value)


def _samplerate(value: int) -> int:
    return _one_of(value, audio_formats.SAMPLERATES_HZ, "sample rate")


def _channels(value: int) -> int:
    return _one_of(value, audio_formats.CHANNEL_COUNTS, "channel count")


def _codec(value: Any) -> Any:
    # The vendor's pages write codecs in lower case, its SDK samples in upper case.
    return value.lower() if isinstance(value, str) else value


def valid_bucket(value: str) -> str:
    """What is wrong with a bucket name, or nothing."""
    if _BUCKET.fullmatch(value):
        return ""
    return f"{quoted(value)} is no bucket name: it is written with the account number, for example media-1250000000."


def valid_region(value: str) -> str:
    """What is wrong with a region, or nothing. Regions that we do not know yet pass, slips of known ones do not."""
    if value in vendor_limits.REGIONS:
        return ""
    if value in vendor_limits.LEGACY_REGIONS:
        return f"{quoted(value)} is the old name of a region. Write {vendor_limits.LEGACY_REGIONS[value]}."
    near = did_you_mean(value, vendor_limits.REGIONS)
    if _REGION.fullmatch(value) and not (near and _is_slip(value, near)):
        return ""
    return f"{quoted(value)} is no region, which look like ap-chongqing. {near}".rstrip()


def _bucket(value: str) -> str:
    if "{" not in value and (complaint := valid_bucket(value)):
        refuse(complaint)
    return value


def _region(value: str) -> str:
    if "{" not in value and (complaint := valid_region(value)):
        refuse(complaint)
    return value


def _is_slip(value: str, near: str) -> bool:
    """A known region with a letter or two wrong; ``ap-shanghai-fsi`` is another region, not a slip."""
    return near.count("-") == value.count("-") and abs(len(near.split('"')[1]) - len(value)) <= 2


Bucket = Annotated[
    Text,
    AfterValidator(_bucket),
    WithJsonSchema({"type": "string", "pattern": r"^([a-z0-9][a-z0-9-]*-[0-9]{5,12}|.*\{.*)$"}),
]
Region = Annotated[
    Text,
    AfterValidator(_region),
    WithJsonSchema({"type": "string", "pattern": r"^([a-z]+-[a-z0-9-]+|.*\{.*)$"}),
]
Level = Annotated[Integer, Field(ge=0, le=2)]


class AudioSettings(Part):
    """How the stems are encoded. What is left out is left to the service."""

    codec: Annotated[audio_formats.Codec, BeforeValidator(_codec)] | None = None
    """Format of the stems. amr means 8000 Hz mono. The service's default is aac. A later layer that changes the codec drops an inherited
    bitrate, and an inherited sample rate or channel count that the new codec cannot have."""
    samplerate: (
        Annotated[
            Integer,
            AfterValidator(_samplerate),
            WithJsonSchema({"enum": list(audio_formats.SAMPLERATES_HZ)}),
        ]
        | None
    ) = None
    """Hz. aac and flac: not 8000; mp3: neither 8000 nor 96000; amr: only 8000. The service's default is 44100."""
    bitrate: (
        Annotated[
            Integer, Field(ge=audio_formats.MIN_BITRATE_KBPS, le=audio_formats.MAX_BITRATE_KBPS)
        ]
        | None
    ) = None
    """kbit/s, 8 to 1000."""
    channels: (
        Annotated[
            Integer,
            AfterValidator(_channels),
            WithJsonSchema({"enum": list(audio_formats.CHANNEL_COUNTS)}),
        ]
        | None
    ) = None
    """Channel count. mp3: 1 or 2; amr: 1."""


class OperationSettings(Part):
    """What is asked of the service: a template of the account, or inline parameters; not both in one place."""

    template_id: (
        Annotated[
            Text,
            Field(min_length=1, max_length=128, examples=["t1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
        ]
        | None
    ) = None
    """A voice-separation template of the account. Replaces inherited inline parameters."""
    audio_mode: Literal["IsAudio", "IsBackground", "AudioAndBackground", "MusicMode"] | None = None
    """Which stems are made: IsAudio voice; IsBackground background; AudioAndBackground both; MusicMode voice, background, bass and drums.
    Left out, it follows from the outputs that are named."""
    audio: AudioSettings | None = None
    """How the stems are encoded."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.template_id and (self.audio_mode or self.audio):
            refuse(
                "template_id stands beside inline parameters (audio_mode, audio); the service would ignore those. Keep one of the two."
            )
        return self


class OutputSettings(Part):
    """Where the stems go. Names are templates; ``${ext}`` and ``${jobid}`` are filled in by the service."""

    bucket: Bucket | None = None
    """Bucket of the stems; the input's if left out."""
    region: Region | None = None
    """Region of that bucket; the input's if left out."""
    voice: Annotated[Text, Field(examples=["stems/{dir}/{stem}/voice.${ext}"])] | None = None
    """Name of the voice stem. An empty text takes back a name that a default gave."""
    background: Annotated[Text, Field(examples=["stems/{dir}/{stem}/background.${ext}"])] | None = (
        None
    )
    """Name of the background stem."""
    bass: Text | None = None
    """Name of the bass stem (MusicMode)."""
    drums: Text | None = None
    """Name of the drum stem (MusicMode)."""


class MqSettings(Part):
    """A TDMQ message queue."""

    region: Literal["sh", "bj", "gz", "cd", "hk"]
    """Where the queue lies: sh, bj, gz, cd or hk."""
    mode: Literal["Queue", "Topic"] = "Queue"
    """Queue or Topic."""
    name: Annotated[Text, Field(min_length=1)]
    """Name of the queue or topic."""


class CallbackSettings(Part):
    """Whom the service tells that a job ended. orchestrator itself never needs it."""

    url: Annotated[Text, Field(examples=["https://hooks.example.com/ci", "no"])] | None = None
    """Where the service POSTs to; the word no silences a callback that the queue has."""
    format: Literal["XML", "JSON"] | None = None
    """XML (the service's default) or JSON."""
    type: Literal["Url", "TDMQ"] | None = None
    """Url (the service's default) or TDMQ."""
    mq: MqSettings | None = None
    """The message queue, for type TDMQ."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """The word no stands for ``url: no``."""
        made = handler.resolve_ref_schema(handler(schema))
        whole = dict(made)
        made.clear()
        made.update(
            {"description": whole.get("description", ""), "anyOf": [{"const": "no"}, whole]}
        )
        return dict(made)

    @model_validator(mode="before")
    @classmethod
    def _silenced(cls, data: Any) -> Any:
        return {"url": "no"} if data == "no" else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type == "TDMQ":
            if self.mq is None:
                refuse("type: TDMQ needs mq: with region, mode and name of the message queue.")
            if self.url is not None:
                refuse(
                    "url stands beside type: TDMQ, which sends to the message queue. Keep one of the two."
                )
        elif self.mq is not None:
            refuse("mq is only for type: TDMQ. Add the type, or remove mq.")
        elif self.url is None:
            refuse(
                'A callback needs url: an address, or the word no. (For a message queue: "type: TDMQ" and mq.)'
            )
        elif self.url != "no" and not self.url.startswith(("http://", "https://")):
            refuse(
                f"{quoted(self.url)} is no address. It begins with https:// or http://, or is the word no."
            )
        return self


class VariantSettings(Part):
    """Settings of a job."""

    operation: OperationSettings | None = None
    """What is asked of the service."""
    output: OutputSettings | None = None
    """Where the stems go."""
    level: Level | None = None
    """JobLevel: 0, 1 or 2; larger goes first, here and at the service. Default 0."""
    user_data: Annotated[Loose, Field(examples=["{stem}"])] | None = None
    """Passed through to the service, the callback and the report. A template; printable ASCII."""
    queue_id: Annotated[Text, Field(max_length=128)] | None = None
    """Queue at the service; its default queue if left out."""
    callback: CallbackSettings | None = None
    """Whom the service tells that the job ended; the word no for nobody."""
    group: Annotated[Text, Field(max_length=128)] | None = None
    """Jobs of one group share fairly with those of other groups; a source is a group of its own if left out."""


def _variant_name(name: str) -> str:
    if not _VARIANT.fullmatch(name):
        refuse(
            f"{quoted(name)} cannot name a variant: it can stand in object names. Letters, digits, - and _ only."
        )
    return name


VariantName = Annotated[str, AfterValidator(_variant_name)]


class JobSettings(VariantSettings):
    """Settings of a job, or of several jobs per object."""

    matrix: (
        Annotated[dict[VariantName, VariantSettings], Field(min_length=1, max_length=32)] | None
    ) = None
    """Several jobs for each object: named variants, each laid over the other settings. {variant} is the name."""
