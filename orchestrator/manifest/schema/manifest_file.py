"""The whole manifest: its keys and their values. The JSON Schema for editors is made from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from orchestrator.domain import value_formats
from orchestrator.domain.run import LOOKBACK_S, MAX_CANARY
from orchestrator.domain.wording import nearest_word, quoted
from orchestrator.manifest.schema.inputs import KIND_PREFIX, AnyInput, Globs, Rule
from orchestrator.manifest.schema.job_settings import (
    Bucket,
    CallbackSettings,
    JobSettings,
    Part,
    Region,
    bucket_problem,
)
from orchestrator.manifest.schema.notify import NotifySettings
from orchestrator.manifest.schema.report import AnyReport, ReportSettings
from orchestrator.manifest.schema.value_types import (
    Flag,
    Integer,
    Loose,
    Number,
    Seconds,
    Text,
    read_share,
    refuse,
)
from orchestrator.manifest.schema.window import AnyWindow, check_zone

DEFAULT_PRICE_PER_MIN = 0.012
"""USD per minute of output, from the vendor's price page for smart audio (2023). Set the price of
your account under ``price``."""
_CURRENCY = r"^[A-Z]{3}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SCHEMA_ID = "https://github.com/voiceseparate/orchestrator/raw/main/docs/manifest.schema.json"
"""Identifies the schema; nothing is fetched from there."""


class LimitSettings(Part):
    """Rates and numbers at one time."""

    submit_per_s: Annotated[Number, Field(gt=0, le=100_000)] = 20
    """Submissions per second, for the whole account."""
    query_per_s: Annotated[Number, Field(gt=0, le=100_000)] = 20
    """Queries per second (each asks for up to ten jobs)."""
    in_flight: Annotated[Integer, Field(ge=1, le=1_000_000)] = 500
    """Jobs that may be at the service at one time, submitted and not ended."""
    connections: Annotated[Integer, Field(ge=1, le=10_000)] = 64
    """Connections open at one time."""
    timeout_s: Annotated[Seconds, Field(ge=1, le=600)] = 60
    """Longest time of one request with its answer. The last requests of a killed run may arrive
    that much later, so the next run waits that long before it treats them as not sent."""


class RetrySettings(Part):
    """Number of attempts per job, and the pauses between them."""

    attempts: Annotated[Integer, Field(ge=1, le=100)] = 6
    """Attempts per job, including the first one."""
    initial_s: Annotated[Seconds, Field(gt=0)] = 0.5
    """First pause between attempts; each further pause may be twice as long."""
    cap_s: Annotated[Seconds, Field(gt=0)] = 60
    """Longest pause between attempts."""
    settle_s: Annotated[Seconds, Field(ge=0)] = 30
    """Time that an unanswered submission must stay absent from the service's list to be proven
    absent."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.initial_s > self.cap_s:
            refuse(f"initial_s ({self.initial_s:g}) is longer than cap_s ({self.cap_s:g}).")
        return self


@dataclass(frozen=True, slots=True)
class Allowance:
    """Failures that a run tolerates: a count, or a percentage of the jobs that ended.

    One of the two is None.
    """

    count: int | None = None
    percent: float | None = None

    @classmethod
    def read(cls, value: Any) -> Allowance:
        """Return the allowance in ``50`` or ``5%``; refuse other values."""
        return value if isinstance(value, Allowance) else cls(*read_share(value))

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else str(self.count)


class BudgetSettings(Part):
    """Limits at which a run stops (exit code 6); run again to resume."""

    max_failures: (
        Annotated[
            Allowance,
            PlainValidator(Allowance.read),
            PlainSerializer(str),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "integer", "minimum": 0},
                        {"type": "string", "pattern": r"^([0-9]+|[0-9]+(\.[0-9]+)?\s*%)$"},
                    ]
                }
            ),
            Field(examples=[50, "5%"]),
        ]
        | None
    ) = None
    """Stop after more failures than this count, or than this percentage of the jobs that ended."""
    max_cost: Annotated[Number, Field(gt=0)] | None = None
    """Stop before the estimated cost exceeds this amount, in the currency of price."""
    deadline_s: Annotated[Seconds, Field(gt=0)] | None = Field(
        default=None, alias="deadline", examples=["6h"]
    )
    """Stop this long after the start."""


class PriceSettings(Part):
    """Price of a minute of output, for estimates."""

    per_minute: Annotated[Number, Field(ge=0)] = DEFAULT_PRICE_PER_MIN
    """Price of one minute of output (two stems of one minute each are two minutes)."""
    currency: Annotated[
        Text, Field(pattern=_CURRENCY), WithJsonSchema({"type": "string", "pattern": _CURRENCY})
    ] = "USD"
    """Currency code of three letters."""


def _local_bucket(value: str) -> str:
    if problem := bucket_problem(value):
        refuse(*problem)
    return value


LocalBucket = Annotated[str, AfterValidator(_local_bucket)]


class LocalSettings(Part):
    """The embedded service."""

    root: Annotated[Text, Field(min_length=1)] | None = None
    """Folder of the objects, <root>/<bucket>/<object>, relative to the manifest; "objects" beside
    the ledger if left out."""
    buckets: dict[LocalBucket, Annotated[Text, Field(min_length=1)]] = Field(
        default_factory=dict, examples=[{"interviews": "~/Music/interviews"}]
    )
    """Folders that are buckets, by the bucket's name. They are read and written in place, and may
    be anywhere on this machine; a relative path starts at the manifest."""


class EngineSettings(Part):
    """Another separation engine of the local service."""

    model: Annotated[Text, Field(min_length=1, examples=["models/voc_ft.onnx"])] | None = None
    """MDX-Net or Demucs file in the ONNX format, relative to this file; a JSON file beside it
    states what it does not state itself."""
    plugin: Annotated[Text, Field(min_length=1, examples=["my-engine"])] | None = None
    """Name of an engine of an installed package."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.model is None) == (self.plugin is None):
            refuse("An engine is either a model (a file) or a plugin (an installed package).")
        return self


class LocalService(Part):
    """The embedded service, with settings."""

    local: LocalSettings | None
    """Its settings."""


_PROFILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def _profile(value: str) -> str:
    if not _PROFILE.fullmatch(value):
        refuse(
            f"{quoted(value)} is not a profile name. Use letters, digits, '-', '_' and '.', as in "
            "the name of its file ~/.tccli/NAME.credential."
        )
    return value


class TencentSettings(Part):
    """Tencent Cloud CI."""

    profile: Annotated[Text, AfterValidator(_profile), Field(examples=["archive"])] | None = None
    """Profile of the vendor's command line tool, whose key pair is used:
    ~/.tccli/<profile>.credential. The environment is not asked then."""


class TencentService(Part):
    """Tencent Cloud CI, with settings."""

    tencent: TencentSettings | None
    """Its settings."""


def _url(value: str) -> str:
    if value_formats.endpoint_url(value) is None:
        if "@" in value:  # not shown: it may contain a password
            refuse(
                "Write an address without a user name or password. "
                "Credentials come from the environment (TENCENTCLOUD_SECRET_ID ...)."
            )
        refuse(
            f"{quoted(value)} is not a valid address. "
            "Write http://host:port or https://host, without a path."
        )
    return value


class EndpointService(Part):
    """Another endpoint that speaks the protocol."""

    ci: Annotated[Text, AfterValidator(_url)]
    """Address of the job API."""
    cos: Annotated[Text, AfterValidator(_url)]
    """Address of the object storage."""


def _service_kind(value: Any) -> str | None:
    if isinstance(value, str) and value in {"local", "tencent"}:
        return KIND_PREFIX + "word"
    if isinstance(value, EndpointService) or (
        isinstance(value, dict) and set(value) & {"ci", "cos"}
    ):
        return KIND_PREFIX + "endpoint"
    if isinstance(value, LocalService) or (isinstance(value, dict) and "local" in value):
        return KIND_PREFIX + "local"
    if isinstance(value, TencentService) or (isinstance(value, dict) and "tencent" in value):
        return KIND_PREFIX + "tencent"
    return None


def _service_form(value: Any) -> Any:
    if _service_kind(value):
        return value
    shown = quoted(value) if isinstance(value, str) else "This"
    near = nearest_word(value, ("local", "tencent")) if isinstance(value, str) else ""
    return refuse(
        f"{shown} is not a valid service. "
        "Write local, tencent, {tencent: {profile: NAME}}, {local: {buckets: {NAME: DIR}}}, "
        "{local: {root: DIR}} or {ci: URL, cos: URL}.",
        near,
    )


AnyService = Annotated[
    Annotated[
        Annotated[Literal["local", "tencent"], Tag(KIND_PREFIX + "word")]
        | Annotated[LocalService, Tag(KIND_PREFIX + "local")]
        | Annotated[TencentService, Tag(KIND_PREFIX + "tencent")]
        | Annotated[EndpointService, Tag(KIND_PREFIX + "endpoint")],
        Discriminator(_service_kind),
    ],
    BeforeValidator(_service_form),
]


Leftovers = Literal["keep", "finish", "drop"]
"""Treatment of unsent jobs that the manifest no longer names."""


def _leftovers(value: Any) -> Any:
    words = get_args(Leftovers)
    if value in words:
        return value
    shown = quoted(value) if isinstance(value, str) else "This"
    near = nearest_word(value, words) if isinstance(value, str) else ""
    return refuse(f"{shown} is not a way to treat leftovers. Write keep, finish or drop.", near)


AnyLeftovers = Annotated[Leftovers, BeforeValidator(_leftovers)]


def _version(value: int) -> int:
    if value != 1:
        refuse(
            f"This version of orchestrator reads manifests of version 1, not {value}. "
            "Install a newer orchestrator, or write version: 1."
        )
    return value


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value):
        refuse(
            f"{quoted(value)} is not a valid name, because file names contain it. Use at most 64 "
            "letters, digits, '-', '_' and '.', with a letter or digit first."
        )
    return value


def _some(value: tuple[AnyInput, ...]) -> tuple[AnyInput, ...]:
    if not value:
        refuse(
            "There is nothing to do: inputs is missing or empty. "
            "Add for example inputs: [{prefix: incoming/}], or inputs: [{folder: DIR}]."
        )
    return value


class ManifestFile(Part):
    """A manifest of media objects for bulk voice / background separation."""

    version: Annotated[Integer, AfterValidator(_version), WithJsonSchema({"const": 1})] = 1
    """Version of this format."""
    name: (
        Annotated[
            Text, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})
        ]
        | None
    ) = None
    """Name of the ledger, the report and the runs; the file name if left out."""
    service: AnyService = "local"
    """The service that does the work: local (this machine, free), tencent (Tencent Cloud CI, every
    job costs money), or other endpoints."""
    engine: EngineSettings | None = None
    """Engine of service: local, instead of the default one. Other services ignore it."""
    bucket: Bucket | None = None
    """Bucket of the objects, unless a source names its own. With the account number
    (media-1250000000), which only the local service does not need."""
    region: Region | None = None
    """Region of the buckets, unless a source names its own. Only service: local has a default."""
    timezone: Annotated[Text, AfterValidator(check_zone), Field(examples=["Asia/Shanghai"])] = "UTC"
    """Time zone of {today}, {yesterday} and the window."""
    params: dict[str, Loose | None] = Field(
        default_factory=dict, examples=[{"date": "{yesterday}"}]
    )
    """Values for templates. --set name=value overrides them, and must set a param that has no
    value. A value may use {today} and {yesterday}."""
    include: Globs = ()
    """Other files, relative to this one. This file's settings override theirs; their inputs and
    rules come first."""
    defaults: JobSettings = Field(default_factory=JobSettings.model_construct)
    """Settings of every job, unless a more specific place overrides them."""
    inputs: Annotated[
        tuple[AnyInput, ...], AfterValidator(_some), Field(validate_default=True)
    ] = ()
    """Sources to process: single objects, prefixes of a bucket, list files, folders."""
    rules: tuple[Rule, ...] = ()
    """Settings for matching objects, applied in order over the settings of the sources."""
    callback: CallbackSettings | None = None
    """Notification that the service sends when a job ends."""
    limits: LimitSettings = Field(default_factory=LimitSettings.model_construct)
    """Rates and numbers at one time."""
    retry: RetrySettings = Field(default_factory=RetrySettings.model_construct)
    """Number of attempts per job, and the pauses between them."""
    budget: BudgetSettings = Field(default_factory=BudgetSettings.model_construct)
    """Limits at which a run stops."""
    window: AnyWindow | None = None
    """The hours in which jobs are submitted."""
    leftovers: AnyLeftovers = "keep"
    """Jobs of earlier runs that were not sent and that the manifest no longer names: keep them as
    they are (neither sent nor cancelled, but reported), finish them in this run, or drop (cancel)
    them."""
    canary: Annotated[Integer, Field(ge=0, le=MAX_CANARY)] = Field(default=0, examples=[3])
    """Number of jobs, spread over sources, codecs and buckets, that must succeed with their stems
    seen before the rest is sent; otherwise the run stops (exit code 6). 0: send at once."""
    skip_existing: Flag = False
    """An object whose stems are all in their bucket already counts as done: it is skipped, and
    never paid for. Before a job is sent, its stems are looked for by name."""
    lookback_s: Annotated[Seconds, Field(ge=0, le=LOOKBACK_S)] = Field(
        default=LOOKBACK_S, alias="lookback", examples=["30d"]
    )
    """Time for which a new ledger looks back for jobs that the account has had done already; at
    most 30 days, 0 for not at all."""
    price: PriceSettings = Field(default_factory=PriceSettings.model_construct)
    """Price for estimates."""
    confirm_above: Annotated[Number, Field(ge=0)] | None = Field(default=None, examples=[20])
    """Estimated cost, in the currency of price, above which a run on a terminal asks before it
    sends anything. --yes skips the question; without a terminal there is none."""
    report: AnyReport = Field(default_factory=ReportSettings.model_construct)
    """Report: the path of its file, or a mapping with path, rows and keep."""
    notify: tuple[NotifySettings, ...] = Field(default_factory=tuple[NotifySettings, ...])
    """Notifications when a run has ended."""
