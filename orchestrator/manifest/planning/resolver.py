"""The recipes of an object, from its source, the rules that match it and its own settings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from orchestrator.manifest.manifest import STEMS_BUCKET
from orchestrator.manifest.planning.recipe import STEMS, Layer, Recipe, RecipeMaker, data_path, flat
from orchestrator.manifest.schema.inputs import FolderInput, ObjectInput
from orchestrator.manifest.sources.address import address_of, is_address
from orchestrator.manifest.sources.globs import Globs, matcher, unmatched_text
from orchestrator.manifest.sources.item import is_carried
from orchestrator.manifest.template import ITEM_NAMES, Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.errors import Fault
    from orchestrator.manifest.diagnostics import FaultList
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import When
    from orchestrator.manifest.schema.job_settings import JobSettings
    from orchestrator.manifest.sources.item import SourceItem
    from orchestrator.manifest.yaml.document import Path

_FOLDER_OUTPUT = {
    "voice": "{bucket}/{object}/voice.${ext}",
    "background": "{bucket}/{object}/background.${ext}",
}
"""Names of the stems of a folder's files, unless the manifest names some. The whole name of the
file, with its extension, keeps ``talk.wav`` and ``talk.mp3`` apart."""
_OWN = ("level", "user_data", "queue_id", "callback", "group")
MOST_COMPARED = 100_000
"""Objects that are compared with an unmatched rule without regard to case."""
MAX_RECIPES = 20_000
"""Recipes in the cache. With more of them, planning takes more time but not more memory."""


class RuleMatch:
    """Condition of one rule, prepared for many objects.

    Args:
        when: The condition.
        text: Function that fills params into text.
    """

    def __init__(self, when: When, text: Callable[[str], str]) -> None:
        self.is_met = False
        self.near = ""
        self.compared = 0
        self._object = (
            Globs(text(glob) for glob in when.object) if when.object is not None else None
        )
        self._bucket, self._prefix = "", None if when.prefix is None else text(when.prefix)
        if self._prefix is not None and is_address(self._prefix):
            self._bucket, _, self._prefix = address_of(self._prefix)
        self._sizes: tuple[float, float] | None = None
        if when.min_size is not None or when.max_size is not None:
            self._sizes = (when.min_size or 0, math.inf if when.max_size is None else when.max_size)
        self._columns = [
            (name, matcher(patterns), matcher(patterns, re.IGNORECASE))
            for name, globs in (when.column or {}).items()
            for patterns in [[text(glob) for glob in globs]]
        ]

    def __call__(self, item: SourceItem) -> bool:
        """Return True if the object meets the condition."""
        is_met = self._meets(item)
        if not self.is_met:
            self.is_met = is_met
            self.compared += 1
            if not is_met and not self.near and self.compared <= MOST_COMPARED:
                self.near = item.media.key if self._is_near(item) else ""
        return is_met

    def _is_near(self, item: SourceItem) -> bool:
        """Return True if the object meets the condition but for case, sizes aside."""
        key, prefix, columns = item.media.key, self._prefix, item.columns
        return (
            (self._object is None or self._object.is_near(key))
            and (prefix is None or key.lower().startswith(prefix.lower()))
            and all(name in columns and loose(columns[name]) for name, _, loose in self._columns)
        )

    def _meets(self, item: SourceItem) -> bool:
        media = item.media
        if self._object is not None and not self._object(media.key, media.bucket):
            return False
        if self._prefix is not None and not media.key.startswith(self._prefix):
            return False
        if self._bucket and media.bucket != self._bucket:
            return False
        if self._sizes is not None:
            least, most = self._sizes
            if media.size_bytes is None or not least <= media.size_bytes <= most:
                return False
        return all(
            name in item.columns and match(item.columns[name]) for name, match, _ in self._columns
        )


class Recipes:
    """Recipes of a manifest, made when they are first needed.

    Args:
        manifest: The manifest.
        faults: Collects faults of the settings, each once.
    """

    def __init__(self, manifest: Manifest, faults: FaultList) -> None:
        self.manifest = manifest
        self.faults = faults
        self._known: dict[Any, tuple[Recipe, ...]] = {}
        self._reported: set[Fault] = set()
        self._defaults = Layer(("defaults",), flat(manifest.defaults))
        self._sources: dict[int, tuple[Layer, Any]] = {}
        self._matches = [RuleMatch(rule.when, self._text) for rule in manifest.rules]
        self._rules = [
            Layer(("rules", index), flat(rule)) for index, rule in enumerate(manifest.rules)
        ]

    def of(self, item: SourceItem) -> tuple[Recipe, ...]:
        """Return the recipes of an object, one per variant; none if its settings have faults."""
        matched: tuple[int, ...] = ()
        if self._matches:
            matched = tuple(index for index, match in enumerate(self._matches) if match(item))
        _, signature = self._source(item.source)
        key = (signature, matched, tuple(item.columns) if item.columns else ())
        recipes = self._known.get(key)
        if recipes is None:
            if len(self._known) >= MAX_RECIPES:
                self._known.clear()
            recipes = self._known[key] = self._make(item, matched)
        return recipes

    def remarks(self) -> list[str]:
        """Return a remark on each rule that no object matched, after all objects were seen."""
        return [
            str(self.manifest.fault(unmatched_text("This rule", match.near), ("rules", index)))
            for index, match in enumerate(self._matches)
            if match.compared and not match.is_met
        ]

    def _source(self, index: int) -> tuple[Layer, Any]:
        """Return the layer of the source and a signature of its settings.

        Single objects with the same settings share a recipe. Their level and plain user data are
        not part of it, because the item carries them.
        """
        known = self._sources.get(index)
        if known is not None:
            return known
        settings = self.manifest.inputs[index]
        if not isinstance(settings, ObjectInput):
            made = self._sources[index] = (Layer(("inputs", index), flat(settings)), index)
            return made
        if settings.operation is None and settings.output is None and settings.matrix is None:
            values = {
                name: value for name in _OWN if (value := getattr(settings, name)) is not None
            }
        else:
            values = flat(settings)
        values = {name: value for name, value in values.items() if not is_carried(name, value)}
        signature = index if settings.matrix is not None else ("single", *values.items())
        return Layer(("inputs", index), values), signature

    def layers(self, index: int, matched: Iterable[int]) -> list[tuple[str, list[Layer]]]:
        """Return the name and the layers of each variant, in the order of precedence.

        A single object is more specific than a rule.
        """
        source, _ = self._source(index)
        rules = [self._rules[index] for index in matched]
        single = isinstance(self.manifest.inputs[index], ObjectInput)
        layers = [self._defaults, *rules, source] if single else [self._defaults, source, *rules]
        matrix = self._matrix([layer.path for layer in layers])
        if matrix is None:
            return [("", self._completed(index, layers))]
        path, variants = matrix
        return [
            (name, self._completed(index, layers, Layer((*path, "matrix", name), flat(settings))))
            for name, settings in variants.items()
        ]

    def _completed(self, index: int, layers: list[Layer], *variant: Layer) -> list[Layer]:
        """Return all layers of a source; the first one has the default outputs of a folder."""
        layers = [*layers, *variant]
        if not isinstance(self.manifest.inputs[index], FolderInput):
            return layers
        is_named = any(name in layer.values for layer in layers for name in STEMS)
        names = {} if is_named else _FOLDER_OUTPUT
        if variant and names:
            names = {name: f"{{variant}}/{text}" for name, text in names.items()}
        below = Layer(("inputs", index), {"output_bucket": STEMS_BUCKET, **names})
        return [below, *layers]

    def _matrix(self, paths: list[Path]) -> tuple[Path, Any] | None:
        for path in reversed(paths):
            matrix = self._settings(path).matrix
            if matrix is not None:
                return path, matrix
        return None

    def _settings(self, path: Path) -> JobSettings:
        if path[0] == "defaults":
            return self.manifest.defaults
        index = int(path[1])
        return self.manifest.inputs[index] if path[0] == "inputs" else self.manifest.rules[index]

    def _make(self, item: SourceItem, matched: tuple[int, ...]) -> tuple[Recipe, ...]:
        known = {*ITEM_NAMES, *item.columns}
        made = [
            self._recipe(item.source, variant, layers, known)
            for variant, layers in self.layers(item.source, matched)
        ]
        return tuple(recipe for recipe in made if recipe is not None)

    def _recipe(
        self, source: int, variant: str, layers: list[Layer], known: set[str] | None
    ) -> Recipe | None:
        maker = RecipeMaker(self.manifest.params, known, ("inputs", source), self.manifest.fault)
        recipe = maker.make(layers, variant)
        for fault in [*maker.faults, *self._bucket_faults(recipe)]:
            if fault not in self._reported:
                self._reported.add(fault)
                self.faults.add(fault)
        return recipe

    def _bucket_faults(self, recipe: Recipe | None) -> list[Fault]:
        """Return what is wrong with the bucket of the stems at the manifest's service."""
        if recipe is None or not recipe.bucket:
            return []
        problem = self.manifest.bucket_problem(recipe.bucket)
        path = (*recipe.merged.sources["output_bucket"], *data_path("output_bucket"))
        return [self.manifest.fault(problem.message, path, problem.hint)] if problem else []

    def check(self, source: int, *, any_column: bool) -> None:
        """Report faults in the settings of a source, before any of its objects is known.

        Args:
            source: Number of the source.
            any_column: Accept any name in a template, because the columns are not known.
        """
        for variant, layers in self.layers(source, ()):
            self._recipe(source, variant, layers, None if any_column else set(ITEM_NAMES))

    def _text(self, text: str) -> str:
        try:
            template = Template(text)
            template.check(self.manifest.params)
            return template.render(self.manifest.params)
        except TemplateError:
            return text  # reported when the manifest was loaded
