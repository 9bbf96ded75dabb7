"""Places that the stems of a manifest go to, as far as the manifest alone says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.recipe import STEMS, merge
from orchestrator.manifest.planning.resolver import Recipes
from orchestrator.manifest.sources.item import Source
from orchestrator.manifest.template import Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.manifest.manifest import Manifest

_SOURCES = 1000
"""Sources that are looked at; a manifest with more of them has single objects, with one place."""
_CONSTANT = re.compile(r"[^{$]*")


class OutputPlace(NamedTuple):
    """A bucket, and the first part of the names of the stems there; it may be empty."""

    bucket: str
    prefix: str


def output_places(manifest: Manifest) -> list[OutputPlace]:
    """Return the places, each once, in the order of the sources. Columns of lists are not read."""
    return list(dict.fromkeys(_places(manifest)))


def _places(manifest: Manifest) -> Iterator[OutputPlace]:
    recipes = Recipes(manifest, FaultList())
    matches: list[tuple[int, ...]] = [
        (),
        *((n,) for n, rule in enumerate(manifest.rules) if rule.output or rule.matrix),
    ]
    for index in range(min(len(manifest.inputs), _SOURCES)):
        source = Source(manifest, index)
        for matched in matches:
            for _, layers in recipes.layers(index, matched):
                values = merge(layers).values
                bucket = _filled(manifest, values.get("output_bucket", "")) or source.bucket
                names = [values[name] for name in STEMS if values.get(name)]
                if bucket and names:
                    known = {**manifest.params, "bucket": source.bucket}
                    yield from (OutputPlace(bucket, _prefix(name, known)) for name in names)


def _prefix(name: str, known: Mapping[str, str]) -> str:
    """Return the folders of a name's template that are the same for every object of a source."""
    for field, value in known.items():
        name = name.replace(f"{{{field}}}", value)
    match = _CONSTANT.match(name)
    return match[0].rpartition("/")[0].strip("/") if match else ""


def _filled(manifest: Manifest, text: str) -> str:
    try:
        return Template(text).render(manifest.params) if "{" in text else text
    except (TemplateError, KeyError):
        return ""  # reported where the jobs are planned
