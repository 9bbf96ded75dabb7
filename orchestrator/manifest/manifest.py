"""A manifest that has been read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.manifest.schema.inputs import STDIN, ListInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.errors import Fault
    from orchestrator.manifest.schema.inputs import AnyInput, Rule
    from orchestrator.manifest.schema.job_settings import JobSettings
    from orchestrator.manifest.schema.manifest_file import (
        BudgetSettings,
        LimitSettings,
        PriceSettings,
        RetrySettings,
    )
    from orchestrator.manifest.schema.window import Window
    from orchestrator.manifest.yaml.document import Path as DataPath
    from orchestrator.manifest.yaml.includes import Files


@dataclass(frozen=True, slots=True)
class LocalServiceSettings:
    """The embedded service; ``root`` is the folder of the objects, or None for "objects" beside the ledger."""

    root: Path | None = None


@dataclass(frozen=True, slots=True)
class TencentSettings:
    """Tencent Cloud CI."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Any other endpoint: addresses of the job API and of the object storage."""

    ci: str
    cos: str


AnyServiceSettings = LocalServiceSettings | TencentSettings | EndpointSettings


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been read and checked.

    Attributes:
        path: The file, as it was named.
        name: Names the ledger, the report and the runs.
        service: Who does the work.
        bucket: Default bucket, or empty if every source names its own.
        region: Default region, or empty if every source names its own.
        timezone: Time zone of the calendar params and the window.
        params: Values for templates; ``today`` and ``yesterday`` among them.
        limits: How fast and how much at once.
        retry: When and how often a job is tried again.
        budget: When a run stops by itself.
        price: For estimates.
        window: The hours in which jobs are submitted, or None for any time.
        report: Path of the report, absolute; ``{run}`` is left for the ledger.
        inputs: The sources, in order.
        rules: The rules, in order.
        defaults: Settings of every job; the manifest's callback is among them.
        files: Where everything stands.
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
    report: str
    inputs: tuple[AnyInput, ...] = field(repr=False)
    rules: tuple[Rule, ...]
    defaults: JobSettings
    files: Files = field(repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """The manifest's folder: what its own relative paths are relative to."""
        return self.path.absolute().parent

    @cached_property
    def needs_listing(self) -> bool:
        """Whether a source lists a bucket."""
        return any(hasattr(source, "prefix") for source in self.inputs)

    @property
    def is_read_once(self) -> bool:
        """Whether a source is gone when it has been read: standard input, or a pipe."""
        named = [
            (index, source.list)
            for index, source in enumerate(self.inputs)
            if isinstance(source, ListInput)
        ]
        return any(
            name == STDIN or (self.files.folder_of(("inputs", index)) / name).is_fifo()
            for index, name in named
        )

    def fault(self, message: str, path: DataPath, hint: str = "") -> Fault:
        """A fault at a place of the manifest."""
        return self.files.fault(message, path, hint=hint)
