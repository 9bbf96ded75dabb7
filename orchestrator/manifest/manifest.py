"""The manifest as the rest of the program sees it: read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.domain.regions import is_known
from orchestrator.domain.wording import quoted
from orchestrator.manifest.schema.inputs import STDIN, FolderInput, ListInput, PrefixInput
from orchestrator.manifest.schema.job_settings import account_bucket_problem, bucket_problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.errors import Fault
    from orchestrator.manifest.schema.inputs import AnyInput, Rule
    from orchestrator.manifest.schema.job_settings import JobSettings, Problem
    from orchestrator.manifest.schema.manifest_file import (
        BudgetSettings,
        Leftovers,
        LimitSettings,
        PriceSettings,
        RetrySettings,
    )
    from orchestrator.manifest.schema.notify import NotifySettings
    from orchestrator.manifest.schema.window import Window
    from orchestrator.manifest.yaml.document import Path as DataPath
    from orchestrator.manifest.yaml.includes import Files


STEMS_BUCKET = "stems"
"""Bucket of the stems of folders, unless the manifest names another."""


@dataclass(frozen=True, slots=True)
class LocalServiceSettings:
    """The embedded service.

    Attributes:
        root: Folder of the objects; None for the default.
        buckets: Folders of the buckets that are not in the root, by name; those of sources, too.
        engine: The engine that separates.
        engine_identity: Its content or version, part of the identity of every job; empty for the
            default engine.
    """

    root: Path | None = None
    buckets: Mapping[str, Path] = field(default_factory=dict)
    engine: EngineChoice = DEFAULT_ENGINE
    engine_identity: str = ""


@dataclass(frozen=True, slots=True)
class TencentSettings:
    """Tencent Cloud CI. ``profile`` names the key pair; None for that of the machine."""

    profile: str | None = None


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Another endpoint: addresses of the job API and of the object storage."""

    ci: str
    cos: str


AnyServiceSettings = LocalServiceSettings | TencentSettings | EndpointSettings


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been read and checked.

    Attributes:
        path: The file, as the user named it.
        name: Name of the ledger, the report and the runs.
        service: The service that does the work.
        bucket: Default bucket, or empty if every source names its own.
        region: Default region, or empty if every source names its own.
        timezone: Time zone of the calendar params and the window.
        params: Values for templates, including ``today`` and ``yesterday``.
        limits: Rates and numbers at one time.
        retry: Attempts per job and pauses between them.
        budget: Limits at which a run stops.
        price: Price for estimates.
        window: The hours in which jobs are submitted, or None for any time.
        leftovers: Treatment of unsent jobs that it no longer names: keep, finish or drop.
        canary: Number of jobs that must succeed before the rest is sent; 0 for none.
        skip_existing: An object whose stems are all in their bucket already counts as done.
        lookback_s: How far back a new ledger looks for jobs that the account has had done.
        confirm_above: Estimated cost above which a run on a terminal asks first, or None.
        report: Absolute path of the report; the runner fills in ``{run}``.
        reports_all: The report has a row for each skipped job, too.
        keep_reports: Number of the latest reports that are kept; None for all.
        writes_page: The report is also written as a page, at the end of a run.
        notify: Notifications when a run has ended.
        inputs: The sources, in order.
        rules: The rules, in order.
        defaults: Settings of every job, including the manifest's callback.
        files: Files of the manifest, with the place of every value.
    """

    path: Path
    name: str
    service: AnyServiceSettings
    bucket: str
    region: str
    timezone: str
    params: Mapping[str, str]
    limits: LimitSettings
    retry: RetrySettings
    budget: BudgetSettings
    price: PriceSettings
    window: Window | None
    leftovers: Leftovers
    canary: int
    skip_existing: bool
    lookback_s: float
    confirm_above: float | None
    report: str
    reports_all: bool
    keep_reports: int | None
    writes_page: bool
    notify: tuple[NotifySettings, ...]
    inputs: tuple[AnyInput, ...] = field(repr=False)
    rules: tuple[Rule, ...]
    defaults: JobSettings
    files: Files = field(repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Folder of the manifest; its relative paths start there."""
        return self.path.absolute().parent

    @cached_property
    def needs_listing(self) -> bool:
        """True if a source lists a bucket or a folder."""
        return any(isinstance(source, PrefixInput | FolderInput) for source in self.inputs)

    @property
    def profile(self) -> str | None:
        """Profile of the vendor's files whose key pair is used, or None for the usual search."""
        return self.service.profile if isinstance(self.service, TencentSettings) else None

    @property
    def is_local(self) -> bool:
        """True if the embedded service does the work."""
        return isinstance(self.service, LocalServiceSettings)

    @property
    def buckets(self) -> Mapping[str, Path]:
        """Folders of the local service's buckets that are not in its root, by name."""
        return self.service.buckets if isinstance(self.service, LocalServiceSettings) else {}

    def region_remarks(self) -> list[str]:
        """Return a remark on each region of the vendor that this version does not know."""
        if not isinstance(self.service, TencentSettings):
            return []
        written = [self.region, *(source.region or "" for source in self.inputs)]
        unknown = [
            region
            for region in dict.fromkeys(written)
            if region and "{" not in region and not is_known(region)
        ]
        return [
            f"{quoted(region)} is not among the regions that this version knows. If it is not a "
            "new one, correct it: a wrong region looks like a broken network."
            for region in unknown
        ]

    def bucket_problem(self, bucket: str) -> Problem | None:
        """Return what is wrong with a bucket name at this manifest's service."""
        return bucket_problem(bucket) if self.is_local else account_bucket_problem(bucket)

    @property
    def is_read_once(self) -> bool:
        """True if a source can be read only once: standard input, or a pipe."""
        return any(
            source.list == STDIN
            or (self.files.folder_of(("inputs", index)) / source.list).is_fifo()
            for index, source in enumerate(self.inputs)
            if isinstance(source, ListInput)
        )

    def fault(self, message: str, path: DataPath, hint: str = "") -> Fault:
        """Return a fault at a place of the manifest."""
        return self.files.fault(message, path, hint=hint)
