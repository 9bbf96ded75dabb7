"""Loading of a manifest: read the files, check them, fill in params, report all faults at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.domain.home import with_home
from orchestrator.domain.wording import is_utf_8, nearest_word, not_utf_8, quoted
from orchestrator.errors import ConfigError, Fault, ManifestError
from orchestrator.manifest.diagnostics import MAX_FAULTS, FaultList
from orchestrator.manifest.engines import identity_of_model, identity_of_plugin
from orchestrator.manifest.local_buckets import NOT_LOCAL, LocalBuckets
from orchestrator.manifest.manifest import (
    EndpointSettings,
    LocalServiceSettings,
    Manifest,
    TencentSettings,
)
from orchestrator.manifest.schema import validation_errors
from orchestrator.manifest.schema.inputs import FolderInput, ListInput
from orchestrator.manifest.schema.job_settings import (
    HAS_ACCOUNTS,
    account_bucket_problem,
    bucket_problem,
    region_problem,
)
from orchestrator.manifest.schema.manifest_file import (
    EndpointService,
    LocalService,
    ManifestFile,
    TencentService,
)
from orchestrator.manifest.schema.window import Window, zone_of
from orchestrator.manifest.template import ITEM_NAMES, Template, TemplateError
from orchestrator.manifest.validate import check
from orchestrator.manifest.yaml.includes import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.domain.ports import Clock
    from orchestrator.manifest.manifest import AnyServiceSettings
    from orchestrator.manifest.schema.job_settings import Problem
    from orchestrator.manifest.schema.manifest_file import LocalSettings
    from orchestrator.manifest.yaml.document import Path as DataPath

LOCAL_REGION = "ap-chongqing"
"""Default region of the local service, which does not use it. Other services have no default."""
_PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_ID = re.compile(r"\bAKID[A-Za-z0-9]{12,}")
"""Form of the vendor's secret ids."""
CALENDAR_NAMES = ("today", "yesterday")


def load_manifest(
    path: Path,
    sets: Mapping[str, str] | None = None,
    *,
    service: str | None = None,
    max_faults: int = MAX_FAULTS,
    clock: Clock | None = None,
    content: bytes | None = None,
    model_fault: Callable[[Path], str] | None = None,
) -> Manifest:
    """Read and check a manifest.

    Args:
        path: The file; relative paths, the ledger and the report start at its folder.
        sets: Values that override ``params`` (``--set``).
        service: ``local`` or ``tencent``, overriding the manifest; its ``local`` root stays.
        max_faults: Faults to show; the others are counted.
        clock: Clock for ``{today}``; the clock of the machine if left out.
        content: The manifest itself, if it is not in the file.
        model_fault: Returns why the file of an engine cannot be used, or an empty text.

    Raises:
        ManifestError: With every fault, each with file, line and column.
    """
    if not is_utf_8(whole := str(Path(path).resolve())):
        raise ManifestError([Fault(not_utf_8(whole))])
    files = Files(Path(path), content)
    return _Loading(
        files, sets or {}, service, FaultList(max_faults), clock or SystemClock(), model_fault
    ).manifest()


class _Loading:
    """State while one manifest is loaded."""

    def __init__(
        self,
        files: Files,
        sets: Mapping[str, str],
        service: str | None,
        faults: FaultList,
        clock: Clock,
        model_fault: Callable[[Path], str] | None,
    ) -> None:
        self.path = files.path
        self.model_fault = model_fault
        self.sets = sets
        self.service_word = service
        self.faults = faults
        self.clock = clock
        self.files = files
        self._look_for_secrets()
        self.file = self._validated()
        self.inputs = self.file.inputs
        self.params: dict[str, str] = {}

    def manifest(self) -> Manifest:
        self._read_params()
        self.faults.raise_if_any()  # the rest fills params into templates
        file = self.file
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", self.path.stem).strip("-._")[:64]
        name = file.name or stem or "manifest"
        service = self._service()
        is_local = isinstance(service, LocalServiceSettings)
        bucket = self._place(
            file.bucket, ("bucket",), bucket_problem if is_local else account_bucket_problem
        )
        region = self._place(file.region, ("region",), region_problem) or (
            LOCAL_REGION if is_local else ""
        )
        self._check_places(bucket, region)
        report = self._report(name)
        self.faults.raise_if_any()
        defaults = file.defaults
        if file.callback is not None and defaults.callback is None:
            defaults = defaults.model_copy(update={"callback": file.callback})
        manifest = Manifest(
            self.path,
            name,
            service,
            bucket,
            region,
            file.timezone,
            self.params,
            file.limits,
            file.retry,
            file.budget,
            file.price,
            Window(file.window, file.timezone) if file.window else None,
            file.leftovers,
            file.canary,
            file.skip_existing,
            file.lookback_s,
            file.confirm_above,
            report,
            file.report.rows == "all",
            file.report.keep,
            file.report.html,
            file.notify,
            self.inputs,
            file.rules,
            defaults,
            self.files,
        )
        check(manifest, self.faults)
        self.faults.raise_if_any()
        return manifest

    # --- the files

    def _look_for_secrets(self) -> None:
        for file, text in self.files.texts():
            for match in _SECRET_ID.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                column = match.start() - text.rfind("\n", 0, match.start())
                message = f"This looks like a secret id (AKID...). {validation_errors.NO_SECRETS}"
                self.faults.add(Fault(message, file, line, column))
        params = self.files.data.get("params")
        for name in params if isinstance(params, dict) else ():
            if validation_errors.is_secret_word(name):
                message = validation_errors.NO_SECRETS
                self.faults.add(self.files.fault(message, ("params", name), key=True))

    def _validated(self) -> ManifestFile:
        try:
            context = {HAS_ACCOUNTS: self._has_accounts()}
            return ManifestFile.model_validate(self.files.data, context=context)
        except ValidationError as error:
            self.faults.extend(validation_errors.faults_of(error, ManifestFile, self.files))
            self.faults.raise_if_any()
            raise

    def _has_accounts(self) -> bool:
        """Return True if the service has accounts, before the manifest is checked."""
        written = self.files.data.get("service")
        word = self.service_word or written
        return word == "tencent" or (
            isinstance(word, dict) and bool({"ci", "cos", "tencent"} & set(word))
        )

    # --- params

    def _read_params(self) -> None:
        calendar = self._calendar()
        given = dict(self.file.params)
        for name, override in self.sets.items():
            if name not in given:
                message = f"--set {name}={override}: the manifest has no param {quoted(name)}."
                message = f"{message} Add it under params, or correct the name."
                self.faults.add(Fault(message, hint=nearest_word(name, given)))
            elif validation_errors.is_secret_word(name):
                self.faults.add(Fault(f"--set {name}: {validation_errors.NO_SECRETS}"))
        self.params.update(calendar)
        for name, text in given.items():
            value = self.sets.get(name)
            self.params[name] = value if value is not None else self._param(name, text, calendar)

    def _param(self, name: str, text: str | None, calendar: Mapping[str, str]) -> str:
        path = ("params", name)
        if not _PARAM_NAME.fullmatch(name):
            message = f"{quoted(name)} is not a valid param name. Use only letters, digits and _."
        elif name in ITEM_NAMES or name in CALENDAR_NAMES or name == "run":
            message = f"The name {{{name}}} is reserved in templates. Rename the param."
        elif text is None:
            message = f"The param {name} has no value. Set it with --set {name}=VALUE."
        else:
            return self._rendered(text, path, calendar)
        self.faults.add(self.files.fault(message, path, key=True))
        return ""

    def _calendar(self) -> dict[str, str]:
        now = datetime.fromtimestamp(self.clock.now(), UTC).astimezone(zone_of(self.file.timezone))
        return {
            "today": now.date().isoformat(),
            "yesterday": (now.date() - timedelta(days=1)).isoformat(),
        }

    def _rendered(self, text: str, path: DataPath, values: Mapping[str, str]) -> str:
        """Return text of the manifest with values filled in; report faults at ``path``."""
        try:
            template = Template(text)
            template.check(values)
            return template.render(values)
        except TemplateError as error:
            self.faults.add(self.files.fault(error.message, path, hint=error.hint))
            return ""

    # --- service and places

    def _service(self) -> AnyServiceSettings:
        written = self.file.service
        local = written.local if isinstance(written, LocalService) else None
        word = self.service_word or (written if isinstance(written, str) else "")
        is_remote = word == "tencent" or (
            not word and isinstance(written, EndpointService | TencentService)
        )
        for index, source in enumerate(self.inputs if is_remote else ()):
            if isinstance(source, FolderInput):
                self.faults.add(self.files.fault(NOT_LOCAL, ("inputs", index, "folder"), key=True))
        if word == "tencent" or (not word and isinstance(written, TencentService)):
            settings = written.tencent if isinstance(written, TencentService) else None
            return TencentSettings(settings.profile if settings else None)
        if not word and isinstance(written, EndpointService):
            return EndpointSettings(written.ci, written.cos)
        root = self._path(local.root if local else None, ("service", "local", "root"))
        engine, identity = self._engine()
        return LocalServiceSettings(root, self._buckets(local), engine, identity)

    def _buckets(self, local: LocalSettings | None) -> dict[str, Path]:
        """Return the folders of the local service's buckets; give folder sources their bucket."""
        buckets = LocalBuckets(self.files, self.faults, self._rendered, self.params)
        buckets.add(local.buckets if local else {})
        self.inputs = buckets.named(self.inputs, self.path.absolute().parent)
        return buckets.folders

    def _path(self, text: str | None, path: DataPath) -> Path | None:
        """Return a path with params filled in; it starts at the file that contains it."""
        if text is None:
            return None
        rendered = self._rendered(text, path, self.params)
        return self.files.folder_of(path).absolute() / with_home(rendered)

    def _engine(self) -> tuple[EngineChoice, str]:
        """Return the engine of the local service, and its identity; empty for the default one."""
        written = self.file.engine
        if written is None:
            return DEFAULT_ENGINE, ""
        name = "model" if written.model is not None else "plugin"
        try:
            if written.plugin is not None:
                return EngineChoice(plugin=written.plugin), identity_of_plugin(written.plugin)
            model = self._path(written.model, ("engine", name))
            identity = identity_of_model(model) if model is not None else ""
            if model and self.model_fault and (fault := self.model_fault(model)):
                self.faults.add(self.files.fault(fault, ("engine", name)))
            return EngineChoice(model), identity
        except ConfigError as error:
            self.faults.add(self.files.fault(str(error), ("engine", name)))
            return DEFAULT_ENGINE, ""

    def _place(
        self, text: str | None, path: DataPath, check: Callable[[str], Problem | None]
    ) -> str:
        """Return a bucket or region with params filled in."""
        value = self._rendered(text, path, self.params) if text else ""
        if value and (problem := check(value)):
            self.faults.add(self.files.fault(problem.message, path, hint=problem.hint))
        return value

    def _check_places(self, bucket: str, region: str) -> None:
        """Check that every source has a bucket and a region.

        Each is reported once, because a manifest may have 100,000 sources. A list may name them in
        columns.
        """
        bucket_message = (
            "No bucket: set it at the top (bucket: media-1250000000), or in this source."
        )
        region_message = (
            "No region: set it at the top (region: ap-chongqing), or in this source. "
            "Only service: local has a default."
        )
        for key, default, message in (
            ("bucket", bucket, bucket_message),
            ("region", region, region_message),
        ):
            for index, source in enumerate(self.file.inputs if not default else ()):
                if not getattr(source, key) and not isinstance(source, ListInput | FolderInput):
                    self.faults.add(self.files.fault(message, ("inputs", index)))
                    break

    def _report(self, name: str) -> str:
        values = {**self.params, "name": name, "run": "{run}"}
        is_mapping = isinstance(self.files.data.get("report"), dict)
        path = ("report", "path") if is_mapping else ("report",)
        rendered = self._rendered(self.file.report.path, path, values)
        return str(self.path.absolute().parent / rendered) if rendered else ""
