"""The whole manifest: its keys, what they mean, what they may be. The JSON Schema for editors is made from here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from orchestrator.domain.wording import did_you_mean, quoted
from orchestrator.manifest.schema.inputs import KIND_PREFIX, AnyInput, Globs, Rule
from orchestrator.manifest.schema.job_settings import (
    Bucket,
    CallbackSettings,
    JobSettings,
    Part,
    Region,
)
from orchestrator.manifest.schema.value_types import (
    Integer,
    Loose,
    Number,
    Seconds,
    Text,
    parse_share,
    refuse,
)
from orchestrator.manifest.schema.window import AnyWindow, check_zone

DEFAULT_PRICE_PER_MIN = 0.012
"""USD per minute of output, from the vendor's price page for smart audio (2023); an account's own price goes under ``price``."""
_CURRENCY = r"^[A-Z]{3}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SCHEMA_ID = "https://github.com/voiceseparate/orchestrator/raw/main/docs/manifest.schema.json"
"""Identifies the schema; nothing is fetched from there."""


class LimitSettings(Part):
    """How fast and how much at once."""

    submit_per_s: Annotated[Number, Field(gt=0, le=100_000)] = 20
    """Submissions per second, over the whole account."""
    query_per_s: Annotated[Number, Field(gt=0, le=100_000)] = 20
    """Queries per second (each asks for up to ten jobs)."""
    in_flight: Annotated[Integer, Field(ge=1, le=1_000_000)] = 500
    """Jobs that may be at the service, not yet ended, at one time."""
    connections: Annotated[Integer, Field(ge=1, le=10_000)] = 64
    """Connections that are open at one time."""
    timeout_s: Annotated[Seconds, Field(ge=1, le=600)] = 60
    """Longest time of one request, its answer included. The last requests of a run that was killed may still arrive that much later, so the
    next run waits as long before it believes that they did not."""


class RetrySettings(Part):
    """When and how often a job is tried again."""

    attempts: Annotated[Integer, Field(ge=1, le=100)] = 6
    """Attempts per job, the first one included."""
    initial_s: Annotated[Seconds, Field(gt=0)] = 0.5
    """First pause between attempts; each next one may be twice as long."""
    cap_s: Annotated[Seconds, Field(gt=0)] = 60
    """Longest pause between attempts."""
    settle_s: Annotated[Seconds, Field(ge=0)] = 30
    """How long an unanswered submission must stay absent from the service's list to be proven absent."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.initial_s > self.cap_s:
            refuse(f"initial_s ({self.initial_s:g}) is longer than cap_s ({self.cap_s:g}).")
        return self


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many failures are too many: a count, or a share of the jobs that ended; one of the two is None."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def read(cls, value: Any) -> Allowance:
        """The allowance of ``50`` or ``5%``; refuses anything else."""
        return value if isinstance(value, Allowance) else cls(*parse_share(value))

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else str(self.count)


class BudgetSettings(Part):
    """When a run stops by itself (exit code 6); running again goes on."""

    max_failures: (
        Annotated[
            Allowance,
            PlainValidator(Allowance.read),
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
    """Stop beyond this many failures, or this share of the jobs that ended."""
    max_cost: Annotated[Number, Field(gt=0)] | None = None
    """Stop before the estimated cost goes beyond this, in the currency of price."""
    deadline_s: Annotated[Seconds, Field(gt=0)] | None = Field(
        default=None, alias="deadline", examples=["6h"]
    )
    """Stop this long after the start."""


class PriceSettings(Part):
    """For estimates: what a minute of output costs."""

    per_minute: Annotated[Number, Field(ge=0)] = DEFAULT_PRICE_PER_MIN
    """Price of one minute of output (two stems of a minute are two)."""
    currency: Annotated[
        Text, Field(pattern=_CURRENCY), WithJsonSchema({"type": "string", "pattern": _CURRENCY})
    ] = "USD"
    """Three letters."""


class LocalSettings(Part):
    """The embedded service."""

    root: Annotated[Text, Field(min_length=1)] | None = None
    """Folder of the objects, <root>/<bucket>/<object>, relative to the manifest; "objects" beside the ledger if left out."""


class LocalService(Part):
    """The embedded service, with settings."""

    local: LocalSettings | None
    """Its settings."""


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        refuse(f"{quoted(value)} is no address. Write for example http://127.0.0.1:8080.")
    if "@" in parts.netloc:
        refuse(
            "An address must not hold a user name or password. Credentials come from the environment (TENCENTCLOUD_SECRET_ID ...)."
        )
    # A path would not be part of what is signed.
    if not whole or parts.path not in {"", "/"} or parts.query or parts.fragment:
        refuse(
            f"{quoted(value)} is no address. Write http://host:port or https://host, without a path."
        )
    return value


class EndpointService(Part):
    """Any other endpoint that speaks the protocol."""

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
    return None


def _service_form(value: Any) -> Any:
    if _service_kind(value):
        return value
    shown = quoted(value) if isinstance(value, str) else "This"
    near = did_you_mean(value, ("local", "tencent")) if isinstance(value, str) else ""
    return refuse(
        f"{shown} is no service. Write local, tencent, {{local: {{root: DIR}}}} or {{ci: URL, cos: URL}}. {near}".rstrip()
    )


AnyService = Annotated[
    Annotated[
        Annotated[Literal["local", "tencent"], Tag(KIND_PREFIX + "word")]
        | Annotated[LocalService, Tag(KIND_PREFIX + "local")]
        | Annotated[EndpointService, Tag(KIND_PREFIX + "endpoint")],
        Discriminator(_service_kind),
    ],
    BeforeValidator(_service_form),
]


def _version(value: int) -> int:
    if value != 1:
        refuse(
            f"This orchestrator reads manifests of version 1, not {value}. A newer one is needed, or version: 1."
        )
    return value


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value):
        refuse(
            f"{quoted(value)} cannot be a name: it names files. Letters, digits, '-', '_' and '.', at most 64, a letter or digit first."
        )
    return value


def _some(value: tuple[AnyInput, ...]) -> tuple[AnyInput, ...]:
    if not value:
        refuse(
            "There is nothing to do: inputs is missing or empty. Add for example inputs: [{prefix: incoming/}]."
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
    """Names the ledger, the report and the runs; the file's own name if left out."""
    service: AnyService = "local"
    """Who does the work: local (this machine, free), tencent (Tencent Cloud CI, every job costs money), or other endpoints."""
    bucket: Bucket | None = None
    """Bucket of the objects, with the account number (media-1250000000), unless a source names its own."""
    region: Region | None = None
    """Region of the buckets, unless a source names its own. May be left out for service: local only."""
    timezone: Annotated[Text, AfterValidator(check_zone), Field(examples=["Asia/Shanghai"])] = "UTC"
    """Time zone of {today}, {yesterday} and the window."""
    params: dict[str, Loose | None] = Field(
        default_factory=dict, examples=[{"date": "{yesterday}"}]
    )
    """Values for templates, overridden by --set name=value. One without a value must be set. May use {today} and {yesterday}."""
    include: Globs = ()
    """Other files whose settings lie beneath this one's and whose inputs and rules come first; relative to this file."""
    defaults: JobSettings = Field(default_factory=JobSettings)
    """Settings of every job, unless something more specific says otherwise."""
    inputs: Annotated[
        tuple[AnyInput, ...], AfterValidator(_some), Field(validate_default=True)
    ] = ()
    """What to process: single objects, prefixes of a bucket, list files."""
    rules: tuple[Rule, ...] = ()
    """Settings for the objects that match, applied in order over what the sources say."""
    callback: CallbackSettings | None = None
    """Whom the service tells that a job ended."""
    limits: LimitSettings = Field(default_factory=LimitSettings)
    """How fast and how much at once."""
    retry: RetrySettings = Field(default_factory=RetrySettings)
    """When and how often a job is tried again."""
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    """When a run stops by itself."""
    window: AnyWindow | None = None
    """The hours in which jobs are submitted."""
    price: PriceSettings = Field(default_factory=PriceSettings)
    """For estimates."""
    report: Annotated[Text, Field(min_length=1)] = "reports/{run}.jsonl"
    """The report file, relative to the manifest; {run} is the run's id."""
