"""Explanation of a job: each of its values, and the place in the manifest or list that set it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.spec import Stem
from orchestrator.errors import Fault, PlanError
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.planning.recipe import AUDIO, STEMS, data_path
from orchestrator.manifest.schema.inputs import ObjectInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.planning.recipe import Recipe
    from orchestrator.manifest.sources.item import SourceItem
    from orchestrator.manifest.yaml.document import Path


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a job.

    Attributes:
        name: ``codec``, ``voice``, ``level`` ...
        value: The value as text; empty if the value of an earlier layer was dropped.
        origin: ``file:line`` that set it, ``default`` or ``derived``.
        note: How it was made, for example the template.
    """

    name: str
    value: str
    origin: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedJob:
    """One job of an object, with the origin of each value."""

    spec: JobSpec
    variant: str
    values: tuple[Value, ...]


def explain(manifest: Manifest, item: SourceItem) -> list[ExplainedJob]:
    """Return the jobs of one object, each value with its origin.

    Raises:
        PlanError: If the object's settings have faults.
    """
    for spec in Planner(manifest).specs([item]):  # raises faults
        if spec.refusal is not None:
            raise PlanError([Fault(spec.refusal.message)])
    planner = Planner(manifest)
    made = [(recipe, planner.spec(item, recipe)) for recipe in planner.recipes.of(item)]
    return [
        ExplainedJob(
            spec, recipe.variant, tuple(_Explanation(manifest, item, recipe, spec).values())
        )
        for recipe, spec in made
        if spec is not None
    ]


class _Explanation:
    """Explains one job."""

    def __init__(self, manifest: Manifest, item: SourceItem, recipe: Recipe, spec: JobSpec) -> None:
        self.manifest = manifest
        self.item = item
        self.recipe = recipe
        self.spec = spec
        self.merged = recipe.merged

    def values(self) -> Iterator[Value]:
        media, item = self.spec.media, self.item
        here = f"{item.file}:{item.line}" if item.line else item.file
        note = "from the object, its version, the operation and the outputs"
        yield Value("key", self.spec.key, "derived", note)
        yield Value("object", media.key, here)
        yield Value("bucket", media.bucket, self._place_origin("bucket"))
        yield Value("region", media.region, self._place_origin("region"))
        if media.etag:
            yield Value("etag", media.etag, here)
        if self.recipe.variant:
            yield Value("variant", self.recipe.variant, "derived")
        yield from self._operation()
        yield from self._outputs()
        yield self._carried("level", str(self.spec.level), self.item.level is not None)
        if self.spec.user_data:
            yield self._carried("user_data", self.spec.user_data, self.item.user_data is not None)
        for name, value in (("queue_id", self.spec.queue_id), ("group", self.spec.group)):
            if value:
                yield self._value(name, value)
        if (callback := self.spec.callback) is not None:
            yield self._value("callback", callback.url or f"{callback.type} {callback.mq_name}")
        for name, reason in self.merged.dropped.items():
            yield Value(name, "", "derived", f"dropped: {reason}")

    def _operation(self) -> Iterator[Value]:
        operation = self.spec.operation
        if operation.template_id:
            yield self._value("template_id", operation.template_id)
            return
        if operation.audio_mode is not None:
            derived = (
                "" if "audio_mode" in self.merged.sources else "follows from the named outputs"
            )
            yield self._value("audio_mode", operation.audio_mode.value, derived)
        for name in AUDIO:
            value = getattr(operation.audio, name)
            if value is not None:
                is_set = name in self.merged.sources
                is_codec = name == "codec"
                derived = (
                    "follows from the extension of the names"
                    if is_codec
                    else "the only value that the codec supports"
                )
                note = "" if is_set else derived
                yield self._value(name, str(value), note)

    def _outputs(self) -> Iterator[Value]:
        output = self.spec.output
        if self.recipe.bucket:
            yield self._value("output_bucket", output.bucket)
        if self.recipe.region:
            yield self._value("output_region", output.region)
        names = output.names()
        for name in STEMS:
            value = names.get(Stem(name))
            if value is not None:
                text = str(self.merged.values.get(name, ""))
                yield self._value(name, value, f"from {text}" if text != value else "")

    def _value(self, name: str, value: str, note: str = "") -> Value:
        at = self.merged.sources.get(name)
        if at is None:
            return Value(name, value, "derived" if note else "default", note)
        if at[0] == "inputs" and at != ("inputs", self.item.source):
            # The recipe is shared with another object that has the same settings.
            at = ("inputs", self.item.source)
        path = (*at, *data_path(name))
        is_general = name == "callback" and at == ("defaults",)
        if is_general and self.manifest.files.data.get("callback") is not None:
            path = ("callback",)
        file, mark = self.manifest.files.where(path)
        return Value(name, value, f"{file}:{mark.line}", note)

    def _carried(self, name: str, value: str, carried: bool) -> Value:
        """Return a level or user data, which the row or the entry of the object may set."""
        if not carried:
            text = str(self.merged.values.get(name, ""))
            return self._value(name, value, f"from {text}" if "{" in text else "")
        if isinstance(self.manifest.inputs[self.item.source], ObjectInput):
            file, mark = self.manifest.files.where(("inputs", self.item.source, name))
            return Value(name, value, f"{file}:{mark.line}")
        return Value(name, value, f"{self.item.file}:{self.item.line}", f"column {name}")

    def _place_origin(self, name: str) -> str:
        if self.item.columns.get(name):
            return f"{self.item.file}:{self.item.line}"
        path: Path = ("inputs", self.item.source, name)
        if getattr(self.manifest.inputs[self.item.source], name) is None:
            path = (name,)
            if getattr(self.manifest, name) and name not in self.manifest.files.data:
                return "default"
        file, mark = self.manifest.files.where(path)
        return f"{file}:{mark.line}"
