"""Columns of list files: those with a meaning, and those that a manifest uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.job_settings import JobSettings, VariantSettings

MEANT_COLUMNS: Final = (
    "object", "bucket", "region", "level", "user_data", "etag", "duration_s", "size_bytes",
)  # fmt: skip
"""Columns that every list may have."""
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)")


def columns_used(manifest: Manifest, index: int) -> set[str]:
    """Return the names that the templates and rules use which concern a list.

    Some of them are params or parts of an object's name.
    """
    source = manifest.inputs[index]
    texts = [getattr(source, "object", None) or ""]
    used: set[str] = set()
    for rule in manifest.rules:
        used.update(rule.when.column or ())
    for settings in (manifest.defaults, source, *manifest.rules):
        texts += _texts(settings)
    for text in texts:
        used.update(_FIELD.findall(text))
    return used


def _texts(settings: JobSettings) -> Iterator[str]:
    variants: tuple[VariantSettings, ...] = tuple((settings.matrix or {}).values())
    for each in (settings, *variants):
        output = each.output
        if output is not None:
            yield from filter(None, (output.voice, output.background, output.bass, output.drums))
        if each.user_data:
            yield each.user_data
