"""Checks before any object is known: texts with params, list files, settings of every source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.spec import MediaObject
from orchestrator.domain.wording import quoted
from orchestrator.manifest.diagnostics import FILE_LENGTH, FaultList
from orchestrator.manifest.planning.recipe import STEMS, flat
from orchestrator.manifest.planning.resolver import Recipes
from orchestrator.manifest.schema.inputs import (
    STDIN,
    FoundInput,
    ListInput,
    ObjectInput,
    PrefixInput,
)
from orchestrator.manifest.sources.address import AddressRefused, address_of, is_address
from orchestrator.manifest.sources.item import Source, SourceItem
from orchestrator.manifest.sources.row_formats import format_of, unknown_format
from orchestrator.manifest.template import ITEM_NAMES, Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path as FilePath

    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import SourceSettings
    from orchestrator.manifest.schema.job_settings import JobSettings
    from orchestrator.manifest.yaml.document import Path

_WHEN = ("object", "prefix")
"""Conditions of a rule that may be addresses."""
MAX_CHECKED_SOURCES = 2000
"""Single objects with settings that are checked here; the others are checked when planned."""


def check(manifest: Manifest, faults: FaultList) -> None:
    """Add all faults of a manifest that can be found before any object is known."""
    _Checks(manifest, faults).run()


class _Checks:
    def __init__(self, manifest: Manifest, faults: FaultList) -> None:
        self.manifest = manifest
        self.faults = faults
        self._has_lists = any(isinstance(source, ListInput) for source in manifest.inputs)

    def run(self) -> None:
        self._settings(self.manifest.defaults, ("defaults",))
        for index, rule in enumerate(self.manifest.rules):
            self._settings(rule, ("rules", index))
            when = ("rules", index, "when")
            self._texts(when, object=rule.when.object or (), prefix=(rule.when.prefix or "",))
        self._sources()
        if not len(self.faults):
            self._recipes()

    # --- sources

    def _sources(self) -> None:
        stdin_at: Path | None = None
        for index, source in enumerate(self.manifest.inputs):
            path: Path = ("inputs", index)
            if (
                isinstance(source, ObjectInput)
                and source.model_fields_set == {"object"}
                and not _has_braces(source.object)
                and "://" not in source.object
            ):
                continue  # the usual case, a hundred thousand times
            self._settings(source, path)
            if self._texts(path, bucket=(source.bucket or "",), region=(source.region or "",)):
                self._bucket(index, source)
            if isinstance(source, ObjectInput):
                if self._texts(path, object=(source.object,)):
                    self._address(index, source.object, "object")
                continue
            self._texts(path, include=source.include, exclude=source.exclude)
            if isinstance(source, FoundInput):
                self._prefix(index, source)
            elif source.list == STDIN and stdin_at is not None:
                message = (
                    "Standard input (-) can be read only once, and an earlier source reads it."
                )
                self._fault(message, (*path, "list"))
            elif isinstance(source, ListInput):
                stdin_at = path if source.list == STDIN else stdin_at
                self._list(index, source)

    def _prefix(self, index: int, source: FoundInput) -> None:
        """Check a prefix; a folder was found when the manifest was loaded."""
        if isinstance(source, PrefixInput) and self._texts(
            ("inputs", index), prefix=(source.prefix,)
        ):
            self._address(index, source.prefix, "prefix")

    def _bucket(self, index: int, source: SourceSettings) -> None:
        """Check the bucket of a source by the rules of the service."""
        name = Source(self.manifest, index).text(source.bucket)
        if name and (problem := self.manifest.bucket_problem(name)):
            self._fault(problem.message, ("inputs", index, "bucket"), problem.hint)

    def _list(self, index: int, source: ListInput) -> None:
        path: Path = ("inputs", index, "list")
        if not self._texts(("inputs", index), list=(source.list,)):
            return
        name = Source(self.manifest, index).text(source.list)
        kind = source.format or format_of(name)
        if kind is None:
            self._fault(unknown_format(name), path)
        elif source.columns and kind not in {"csv", "tsv"}:
            message = "columns is only for csv and tsv files without a header line; "
            message = f"{message}this list is {kind}. Remove it."
            self._fault(message, ("inputs", index, "columns"))
        if name != STDIN:
            self._file(self.manifest.files.folder_of(("inputs", index)) / name, path)
        if source.object is not None:
            self._template(source.object, ("inputs", index, "object"), None)

    def _file(self, file: FilePath, path: Path) -> None:
        shown = quoted(file, FILE_LENGTH)
        try:
            is_missing, is_folder = not file.exists(), file.is_dir()
        except OSError as error:  # for example a name that is too long for the file system
            self._fault(f"The list file {shown} cannot be read: {error.strerror or error}.", path)
            return
        if is_missing:
            message = f"The list file {shown} does not exist."
            self._fault(f"{message} Its path is relative to the file that names it.", path)
        elif is_folder:
            self._fault(f"{shown} is a folder, not a list file.", path)

    # --- texts

    def _settings(self, settings: JobSettings, path: Path) -> None:
        """Check templates, also in a rule that no object matches."""
        for place, values in _places(settings, path):
            for name in (*STEMS, "user_data"):
                if text := values.get(name):
                    known = None if self._has_lists else {*ITEM_NAMES, *self.manifest.params}
                    where = ("output", name) if name in STEMS else (name,)
                    self._template(text, (*place, *where), known)

    def _texts(self, path: Path, **texts: Iterable[str]) -> bool:
        """Check texts that may use only params; return True if they have no faults."""
        is_good = True
        for name, several in texts.items():
            for text in several:
                is_good = self._template(text, (*path, name), self.manifest.params) and is_good
                if is_good and is_address(text) and name in {"include", "exclude", *_WHEN}:
                    is_good = self._glob(text, (*path, name))
        return is_good

    def _glob(self, text: str, path: Path) -> bool:
        try:
            address_of(Template(text).render(self.manifest.params))
        except AddressRefused as error:
            self._fault(error.message, path)
            return False
        return True

    def _address(self, index: int, text: str, name: str) -> None:
        """Check a name that is an address against its source."""
        try:
            source = Source(self.manifest, index)
            source.resolved(source.text(text))
        except AddressRefused as error:
            self._fault(error.message, ("inputs", index, name))
        except TemplateError:
            return  # reported with the bucket or region

    def _template(self, text: str, path: Path, known: Iterable[str] | None) -> bool:
        if not _has_braces(text):
            return True
        try:
            template = Template(text)
            if known is not None:
                template.check(set(known))
        except TemplateError as error:
            self._fault(error.message, path, error.hint)
            return False
        return True

    # --- settings of each source

    def _recipes(self) -> None:
        """Make the recipes that every source needs in any case."""
        # If a rule sets operation or output, the settings of a source alone need not be complete.
        rules = self.manifest.rules
        has_completing_rules = any(rule.operation or rule.output or rule.matrix for rule in rules)
        found = FaultList(self.faults.limit)
        recipes = Recipes(self.manifest, found)
        checked = 0
        for index, source in enumerate(self.manifest.inputs):
            if isinstance(source, ObjectInput):
                checked += len(source.model_fields_set) > 1
                if checked > MAX_CHECKED_SOURCES:
                    continue
                place = Source(self.manifest, index)
                where = place.resolved(place.text(source.object))
                media = MediaObject(*where, size_bytes=source.size_bytes)
                recipes.of(SourceItem(media, index, 1, ""))
            elif not has_completing_rules:
                recipes.check(index, any_column=isinstance(source, ListInput))
        self.faults.extend(found.kept)
        self.faults.omitted += found.omitted

    def _fault(self, message: str, path: Path, hint: str = "") -> None:
        self.faults.add(self.manifest.fault(message, path, hint))


def _has_braces(text: str) -> bool:
    return "{" in text or "}" in text


def _places(settings: JobSettings, path: Path) -> Iterable[tuple[Path, dict[str, str]]]:
    yield path, flat(settings)
    for name, variant in (settings.matrix or {}).items():
        yield (*path, "matrix", name), flat(variant)
