"""From a file to a :class:`Manifest`: read, check, fill in params. Everything that is wrong is told at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.wording import nearest_word, quoted
from orchestrator.errors import Fault
from orchestrator.manifest.diagnostics import MAX_FAULTS, FaultList
from orchestrator.manifest.manifest import (
    EndpointSettings,
    LocalServiceSettings,
    Manifest,
    TencentSettings,
)
from orchestrator.manifest.schema import validation_errors
from orchestrator.manifest.schema.inputs import ListInput
from orchestrator.manifest.schema.job_settings import bucket_problem, region_problem
from orchestrator.manifest.schema.manifest_file import EndpointService, LocalService, ManifestFile
from orchestrator.manifest.schema.window import Window
from orchestrator.manifest.template import ITEM_NAMES, Template, TemplateError
from orchestrator.manifest.validate import check
from orchestrator.manifest.yaml.includes import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.domain.ports import Clock
    from orchestrator.manifest.manifest import AnyServiceSettings
    from orchestrator.manifest.schema.job_settings import JobSettings, Problem
    from orchestrator.manifest.yaml.document import Path as DataPath

LOCAL_REGION = "ap-chongqing"
"""Region when none is given and the service is the local one, where it is only a word. The service of an account has no default."""
_PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_ID = re.compile(r"\bAKID[A-Za-z0-9]{12,}")
"""How the vendor's secret ids begin."""
CALENDAR_NAMES = ("today", "yesterday")


def load_manifest(
    path: Path,
    sets: Mapping[str, str] | None = None,
    *,
    service: str | None = None,
    max_faults: int = MAX_FAULTS,
    clock: Clock | None = None,
) -> Manifest:
    """Read and check a manifest.

    Args:
        path: The file.
        sets: Values that override ``params`` (``--set``).
        service: ``local`` or ``tencent`` instead of what the manifest says; a ``local`` root of the manifest stays.
        max_faults: Faults that are told; the others are counted.
        clock: Gives ``{today}``; the machine's own if left out.

    Raises:
        ManifestError: With every fault, each with file, line and column.
    """
    return _Loading(
        Path(path), sets or {}, service, FaultList(max_faults), clock or SystemClock()
    ).manifest()


class _Loading:
    """One manifest on its way."""

    def __init__(
        self,
        path: Path,
        sets: Mapping[str, str],
        service: str | None,
        faults: FaultList,
        clock: Clock,
    ) -> None:
        self.path = path
        self.sets = sets
        self.service_word = service
        self.faults = faults
        self.clock = clock
        self.files = Files(path)
        self._look_for_secrets()
        self.file = self._validated()
        self.params: dict[str, str] = {}

    def manifest(self) -> Manifest:
        self._read_params()
        self.faults.raise_if_any()  # what follows fills templates with params
        file = self.file
        name = file.name or self._own_name()
        service = self._service()
        bucket = self._place(file.bucket, ("bucket",), bucket_problem)
        region = self._place(file.region, ("region",), region_problem) or (
            LOCAL_REGION if isinstance(service, LocalServiceSettings) else ""
        )
        self._check_places(bucket, region)
        report = self._report(name)
        self.faults.raise_if_any()
        defaults = file.defaults if file.callback is None else self._with_callback(file)
        manifest = Manifest(
            self.path, name, service, bucket, region, file.timezone, self.params, file.limits, file.retry, file.budget, file.price,
            Window(file.window, file.timezone) if file.window else None, report, file.inputs, file.rules, defaults, self.files,
        )  # fmt: skip
        check(manifest, self.faults)
        self.faults.raise_if_any()
        return manifest

    # --- the file as it stands

    def _look_for_secrets(self) -> None:
        for file, text in self.files.texts():
            for match in _SECRET_ID.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                column = match.start() - text.rfind("\n", 0, match.start())
                self.faults.add(
                    Fault(
                        f"This looks like a secret id (AKID...). {validation_errors.NO_SECRETS}",
                        file,
                        line,
                        column,
                    )
                )
        params = self.files.data.get("params")
        for name in params if isinstance(params, dict) else ():
            if validation_errors.is_secret_word(name):
                self.faults.add(
                    self.files.fault(validation_errors.NO_SECRETS, ("params", name), key=True)
                )

    def _validated(self) -> ManifestFile:
        try:
            return ManifestFile.model_validate(self.files.data)
        except ValidationError as error:
            self.faults.extend(validation_errors.faults_of(error, ManifestFile, self.files))
            self.faults.raise_if_any()
            raise

    def _own_name(self) -> str:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.path.stem).strip("-._")[:64]
        return name or "manifest"

    # --- params

    def _read_params(self) -> None:
        calendar = self._calendar()
        given = dict(self.file.params)
        for name, override in self.sets.items():
            if name not in given:
                message = f"--set {name}={override}: the manifest has no param {quoted(name)}. Add it under params, or correct the name."
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
            self.faults.add(
                self.files.fault(
                    f"{quoted(name)} cannot name a param: letters, digits and _ only.",
                    path,
                    key=True,
                )
            )
        elif name in ITEM_NAMES or name in CALENDAR_NAMES or name == "run":
            self.faults.add(
                self.files.fault(
                    f"{{{name}}} has a meaning of its own in templates. Give the param another name.",
                    path,
                    key=True,
                )
            )
        elif text is None:
            self.faults.add(
                self.files.fault(
                    f"The param {name} has no value. Give it one with --set {name}=VALUE.",
                    path,
                    key=True,
                )
            )
        else:
            return self._rendered(text, path, calendar)
        return ""

    def _calendar(self) -> dict[str, str]:
        now = datetime.fromtimestamp(self.clock.now(), UTC).astimezone(ZoneInfo(self.file.timezone))
        return {
            "today": now.date().isoformat(),
            "yesterday": (now.date() - timedelta(days=1)).isoformat(),
        }

    def _rendered(self, text: str, path: DataPath, values: Mapping[str, str]) -> str:
        """A text of the manifest with params filled in; faults are noted at ``path``."""
        try:
            template = Template(text)
            template.check(values)
            return template.render(values)
        except TemplateError as error:
            self.faults.add(self.files.fault(error.message, path, hint=error.hint))
            return ""

    # --- where and how

    def _service(self) -> AnyServiceSettings:
        said = self.file.service
        local = said.local if isinstance(said, LocalService) else None
        word = self.service_word or (said if isinstance(said, str) else "")
        if word == "tencent":
            return TencentSettings()
        if not word and isinstance(said, EndpointService):
            return EndpointSettings(said.ci, said.cos)
        if local is None or local.root is None:
            return LocalServiceSettings()
        root = self._rendered(local.root, ("service", "local", "root"), self.params)
        return LocalServiceSettings(
            self.files.folder_of(("service", "local", "root")).absolute() / Path(root).expanduser()
        )

    def _place(
        self, text: str | None, path: DataPath, check: Callable[[str], Problem | None]
    ) -> str:
        """Return a bucket or region with params filled in."""
        value = self._rendered(text, path, self.params) if text else ""
        if value and (problem := check(value)):
            self.faults.add(self.files.fault(problem.message, path, hint=problem.hint))
        return value

    def _check_places(self, bucket: str, region: str) -> None:
        """Every source must have a bucket and a region; told once per kind, for a manifest may have 100,000 sources."""
        wanted = {
            "bucket": (
                bucket,
                "No bucket: name it once at the top (bucket: media-1250000000), or at this source.",
            ),
            "region": (
                region,
                "No region: name it once at the top (region: ap-chongqing), or here. Only service: local has a default.",
            ),
        }
        for key, (default, text) in wanted.items():
            for index, source in enumerate(self.file.inputs if not default else ()):
                if not getattr(source, key) and not isinstance(
                    source, ListInput
                ):  # a list may name them in columns
                    self.faults.add(self.files.fault(text, ("inputs", index)))
                    break

    def _report(self, name: str) -> str:
        values = {**self.params, "name": name, "run": "{run}"}
        rendered = self._rendered(self.file.report, ("report",), values)
        return str(self.path.absolute().parent / rendered) if rendered else ""

    @staticmethod
    def _with_callback(file: ManifestFile) -> JobSettings:
        callback = file.defaults.callback or file.callback
        return file.defaults.model_copy(update={"callback": callback})
