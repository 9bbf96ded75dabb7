"""Settings of a job, wherever they are written: defaults, sources, rules, objects, variants."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from orchestrator.domain import audio_formats, regions, value_formats
from orchestrator.domain.wording import listed, nearest_word, quoted
from orchestrator.manifest.schema.value_types import Integer, Loose, Text, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

_VARIANT = re.compile(r"[\w-]{1,64}")


class Part(BaseModel):
    """A mapping of the manifest: unknown keys are faults, and it cannot change once read.

    The text below a key is its description in the JSON Schema (``json_schema``).
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        defer_build=True,  # the whole manifest is built in one piece, at its first use
    )


def _one_of(allowed: tuple[int, ...], what: str) -> AfterValidator:
    def check(value: int) -> int:
        if value not in allowed:
            refuse(f"The service has no {what} {value}. Allowed: {listed(allowed)}.")
        return value

    return AfterValidator(check)


def _codec(value: Any) -> Any:
    # The vendor's pages write codecs in lower case, its SDK samples in upper case.
    return value.lower() if isinstance(value, str) else value


class Problem(NamedTuple):
    """A message about a value, and the nearest right word if there is one."""

    message: str
    hint: str = ""


def bucket_problem(value: str) -> Problem | None:
    """Return what is wrong with a bucket name of any service."""
    if value_formats.LOCAL_BUCKET.fullmatch(value):
        return None
    return Problem(
        f"{quoted(value)} is not a valid bucket name. Use lower-case letters, digits and hyphens, "
        "for example media-1250000000."
    )


def account_bucket_problem(value: str) -> Problem | None:
    """Return what is wrong with a bucket name of a service with accounts."""
    if value_formats.ACCOUNT_BUCKET.fullmatch(value):
        return None
    return bucket_problem(value) or Problem(
        f"{quoted(value)} is not a valid bucket name. It includes the account number, "
        "for example media-1250000000. (Only service: local has buckets without one.)"
    )


def region_problem(value: str) -> Problem | None:
    """Return what is wrong with a region.

    Unknown regions pass, because the vendor opens new ones; misspelt known regions do not.
    ``ap-shanghai-fsi`` is another region, not a misspelt ``ap-shanghai``.
    """
    if value in regions.REGIONS:
        return None
    if new_name := regions.LEGACY_REGIONS.get(value):
        return Problem(f"{quoted(value)} is the old name of a region. Write {new_name}.")
    near = nearest_word(value, regions.REGIONS)
    is_misspelt = near.count("-") == value.count("-") and abs(len(near) - len(value)) <= 2
    if value_formats.REGION.fullmatch(value) and not (near and is_misspelt):
        return None
    return Problem(f"{quoted(value)} is not a valid region (for example ap-chongqing).", near)


def _checked(check: Callable[[str], Problem | None]) -> AfterValidator:
    """Make a validator of a check; a template is checked when its params are filled in."""

    def validate(value: str) -> str:
        if "{" not in value and (problem := check(value)):
            refuse(*problem)
        return value

    return AfterValidator(validate)


HAS_ACCOUNTS = "has_accounts"
"""Key of the validation's context: True if the buckets of the service have account numbers."""


def _bucket(value: str, info: ValidationInfo) -> str:
    has_accounts = bool(info.context and info.context.get(HAS_ACCOUNTS))
    check = account_bucket_problem if has_accounts else bucket_problem
    if "{" not in value and (problem := check(value)):
        refuse(*problem)
    return value


Bucket = Annotated[
    Text,
    AfterValidator(_bucket),
    WithJsonSchema({"type": "string", "pattern": r"^([a-z0-9][a-z0-9-]*|.*\{.*)$"}),
]
Region = Annotated[
    Text,
    _checked(region_problem),
    WithJsonSchema({"type": "string", "pattern": r"^([a-z]+-[a-z0-9-]+|.*\{.*)$"}),
]
Level = Annotated[Integer, Field(ge=0, le=2)]


class AudioSettings(Part):
    """Encoding of the stems. The service decides what is left out."""

    codec: Annotated[audio_formats.Codec, BeforeValidator(_codec)] | None = None
    """Format of the stems. amr means 8000 Hz mono. The service's default is aac. A later layer that
    changes the codec drops an inherited bitrate, and an inherited sample rate or channel count that
    the new codec does not support."""
    samplerate: (
        Annotated[
            Integer,
            _one_of(audio_formats.SAMPLERATES_HZ, "sample rate"),
            WithJsonSchema({"enum": list(audio_formats.SAMPLERATES_HZ)}),
        ]
        | None
    ) = None
    """Hz. aac and flac: not 8000; mp3: neither 8000 nor 96000; amr: only 8000. The service's
    default is 44100."""
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
            _one_of(audio_formats.CHANNEL_COUNTS, "channel count"),
            WithJsonSchema({"enum": list(audio_formats.CHANNEL_COUNTS)}),
        ]
        | None
    ) = None
    """Channel count. mp3: 1 or 2; amr: 1."""


class OperationSettings(Part):
    """The work to do: a template of the account, or inline parameters; not both in one place."""

    template_id: (
        Annotated[
            Text,
            Field(min_length=1, max_length=128, examples=["t1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
        ]
        | None
    ) = None
    """A voice-separation template of the account. Replaces inherited inline parameters."""
    audio_mode: Literal["IsAudio", "IsBackground", "AudioAndBackground", "MusicMode"] | None = None
    """Stems to make: IsAudio voice; IsBackground background; AudioAndBackground both; MusicMode
    voice, background, bass and drums. If left out, it follows from the named outputs."""
    audio: AudioSettings | None = None
    """Encoding of the stems."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.template_id and (self.audio_mode or self.audio):
            refuse(
                "Both template_id and inline parameters (audio_mode, audio) are set; "
                "the service would ignore the inline ones. Keep one of the two."
            )
        return self


class OutputSettings(Part):
    """Names and place of the stems.

    Names are templates; the service fills in ``${ext}`` and ``${jobid}``.
    """

    bucket: Bucket | None = None
    """Bucket of the stems; the bucket of the input if left out."""
    region: Region | None = None
    """Region of that bucket; the region of the input if left out."""
    voice: Annotated[Text, Field(examples=["stems/{dir}/{stem}/voice.${ext}"])] | None = None
    """Name of the voice stem. An empty text removes a name set by a default."""
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
    """Region of the queue: sh, bj, gz, cd or hk."""
    mode: Literal["Queue", "Topic"] = "Queue"
    """Queue or Topic."""
    name: Annotated[Text, Field(min_length=1)]
    """Name of the queue or topic."""


class CallbackSettings(Part):
    """Notification that the service sends when a job ends. orchestrator itself does not need it."""

    url: Annotated[Text, Field(examples=["https://hooks.example.com/ci", "no"])] | None = None
    """Address for the POST; the word no turns off the callback of the queue."""
    format: Literal["XML", "JSON"] | None = None
    """XML (the service's default) or JSON."""
    type: Literal["Url", "TDMQ"] | None = None
    """Url (the service's default) or TDMQ."""
    mq: MqSettings | None = None
    """The message queue, for type TDMQ."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Allow the word no, short for ``url: no``."""
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
                    "Both url and type: TDMQ are set, but TDMQ sends to the message queue. "
                    "Keep one of the two."
                )
        elif self.mq is not None:
            refuse("mq is only for type: TDMQ. Add the type, or remove mq.")
        elif self.url is None:
            refuse(
                "A callback needs url: an address, or the word no. "
                '(For a message queue: "type: TDMQ" and mq.)'
            )
        elif self.url != "no" and not value_formats.is_http_url(self.url):
            refuse(
                f"{quoted(self.url)} is not a valid address. "
                "Write one that begins with https:// or http://, or the word no."
            )
        return self


class VariantSettings(Part):
    """Settings of a job."""

    operation: OperationSettings | None = None
    """The work to do."""
    output: OutputSettings | None = None
    """Names and place of the stems."""
    level: Level | None = None
    """JobLevel: 0, 1 or 2; larger goes first, here and at the service. Default 0."""
    user_data: Annotated[Loose, Field(examples=["{stem}"])] | None = None
    """Passed through to the service, the callback and the report. A template; printable ASCII."""
    queue_id: Annotated[Text, Field(max_length=128)] | None = None
    """Queue at the service; its default queue if left out."""
    callback: CallbackSettings | None = None
    """Notification that the service sends when the job ends; the word no for none."""
    group: Annotated[Text, Field(max_length=128)] | None = None
    """Groups share the limits fairly. If left out, each source is a group."""


def _variant_name(name: str) -> str:
    if not _VARIANT.fullmatch(name):
        refuse(
            f"{quoted(name)} is not a valid variant name, because object names may contain it. "
            "Use only letters, digits, - and _."
        )
    return name


VariantName = Annotated[str, AfterValidator(_variant_name)]


class JobSettings(VariantSettings):
    """Settings of a job, or of several jobs per object."""

    matrix: (
        Annotated[dict[VariantName, VariantSettings], Field(min_length=1, max_length=32)] | None
    ) = None
    """Several jobs per object: named variants, each laid over the other settings. {variant} is the
    name."""
