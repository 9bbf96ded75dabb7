"""Which recipe an object is made by: its source, the rules that match it, its own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.manifest.planning.precedence import Layer, flat
from orchestrator.manifest.planning.recipe import Recipe, RecipeMaker
from orchestrator.manifest.schema.inputs import ObjectInput
from orchestrator.manifest.sources.globs import matcher
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

_OWN = ("level", "user_data", "queue_id", "callback", "group")
MAX_RECIPES = 20_000
"""Recipes that are kept; a manifest with more different settings than that plans more slowly, not in more memory."""


class RuleMatch:
    """One rule, ready to be asked.

    Args:
        when: Its condition.
        text: Fills params into a text.
    """

    def __init__(self, when: When, text: Callable[[str], str]) -> None:
        self._object = (
            matcher(text(glob) for glob in when.object) if when.object is not None else None
        )
        self._prefix = text(when.prefix) if when.prefix is not None else None
        self._smallest, self._largest = when.min_size, when.max_size
        self._columns = [
            (name, matcher(text(glob) for glob in globs))
            for name, globs in (when.column or {}).items()
        ]

    def __call__(self, item: SourceItem) -> bool:
        """Whether the rule is for this object."""
        media = item.media
        if self._object is not None and not self._object(media.key):
            return False
        if self._prefix is not None and not media.key.startswith(self._prefix):
            return False
        if not self._fits(media.size_bytes):
            return False
        return all(
            name in item.columns and match(item.columns[name]) for name, match in self._columns
        )

    def _fits(self, size: int | None) -> bool:
        if self._smallest is None and self._largest is None:
            return True
        if size is None:
            return False
        return (self._smallest is None or size >= self._smallest) and (
            self._largest is None or size <= self._largest
        )


class Recipes:
    """The recipes of a manifest, made when first needed.

    Args:
        manifest: The manifest.
        faults: Takes what is wrong with the settings, once per recipe.
    """

    def __init__(self, manifest: Manifest, faults: FaultList) -> None:
        self.manifest = manifest
        self.faults = faults
        self._known: dict[Any, tuple[Recipe, ...]] = {}
        self._told: set[Fault] = set()
        self._defaults = Layer(("defaults",), flat(manifest.defaults))
        self._sources: dict[int, tuple[Layer, Any]] = {}
        self._matches = [RuleMatch(rule.when, self._text) for rule in manifest.rules]
        self._rules = [
            Layer(("rules", index), flat(rule)) for index, rule in enumerate(manifest.rules)
        ]

    def of(self, item: SourceItem) -> tuple[Recipe, ...]:
        """The recipes of an object, one per variant; none if its settings have faults (which are told)."""
        matched = (
            tuple(index for index, match in enumerate(self._matches) if match(item))
            if self._matches
            else ()
        )
        _, signature = self._source(item.source)
        key = (signature, matched, tuple(item.columns) if item.columns else ())
        recipes = self._known.get(key)
        if recipes is None:
            if len(self._known) >= MAX_RECIPES:
                self._known.clear()
            recipes = self._known[key] = self._make(item, matched)
        return recipes

    def _source(self, index: int) -> tuple[Layer, Any]:
        """The source's own layer, and what tells its settings from those of others.

        Single objects with the same settings share a recipe. Their level and plain user data are not part of it: the item carries them.
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
        """For each variant its name and its layers, the first at the bottom. A single object is more specific than a rule."""
        source, _ = self._source(index)
        rules = [self._rules[index] for index in matched]
        single = isinstance(self.manifest.inputs[index], ObjectInput)
        layers = [self._defaults, *rules, source] if single else [self._defaults, source, *rules]
        matrix = self._matrix([layer.path for layer in layers])
        if matrix is None:
            return [("", layers)]
        path, variants = matrix
        return [
            (name, [*layers, Layer((*path, "matrix", name), flat(settings))])
            for name, settings in variants.items()
        ]

    def matched(self, item: SourceItem) -> list[int]:
        """Numbers of the rules that are for this object."""
        return [index for index, match in enumerate(self._matches) if match(item)]

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
        for fault in maker.faults:
            if fault not in self._told:
                self._told.add(fault)
                self.faults.add(fault)
        return recipe

    def check(self, source: int, *, any_column: bool) -> None:
        """Tell what is wrong with the settings of a source, before one of its objects is known.

        Args:
            source: Number of the source.
            any_column: The columns are not known yet: take any name in a template for one.
        """
        for variant, layers in self.layers(source, ()):
            self._recipe(source, variant, layers, None if any_column else set(ITEM_NAMES))

    def _text(self, text: str) -> str:
        try:
            template = Template(text)
            template.check(self.manifest.params)
            return template.render(self.manifest.params)
        except TemplateError:
            return text  # told when the manifest was loaded
