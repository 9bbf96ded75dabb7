"""Why a job is what it is: each of its values, and the place in the manifest or list that said it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.spec import Stem
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.planning.precedence import AUDIO, STEMS, data_path
from orchestrator.manifest.schema.inputs import ObjectInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.planning.recipe import Recipe
    from orchestrator.manifest.sources.item import SourceItem


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a job.

    Attributes:
        name: ``codec``, ``voice``, ``level`` ...
        value: What it is, as text; empty if an earlier layer's value was dropped.
        origin: ``file:line`` that said it, or a word: ``default``, ``derived``.
        note: What happened to it on the way, for example the template that it was made from.
    """

    name: str
    value: str
    origin: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedJob:
    """One job of an object, with the story of its values."""

    spec: JobSpec
    variant: str
    values: tuple[Value, ...]


def explain(manifest: Manifest, item: SourceItem) -> list[ExplainedJob]:
    """The jobs of one object, each value with its origin.

    Raises:
        PlanError: If the object's settings have faults.
    """
    Planner(manifest).specs([item])  # raises what is wrong
    planner = Planner(manifest)
    made = [(recipe, planner.spec(item, recipe)) for recipe in planner.recipes.of(item)]
    return [
        ExplainedJob(spec, recipe.variant, tuple(_Story(manifest, item, recipe, spec).values()))
        for recipe, spec in made
        if spec is not None
    ]


class _Story:
    """Tells one job."""

    def __init__(self, manifest: Manifest, item: SourceItem, recipe: Recipe, spec: JobSpec) -> None:
        self.manifest = manifest
        self.item = item
        self.recipe = recipe
        self.spec = spec
        self.merged = recipe.merged

    def values(self) -> Iterator[Value]:
        media, here = (
            self.spec.media,
            f"{self.item.file}:{self.item.line}" if self.item.line else self.item.file,
        )
        yield Value(
            "key",
            self.spec.key,
            "derived",
            "from the object, its version, the operation and the outputs",
        )
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
                yield self._said(name, value)
        if self.spec.callback is not None:
            yield self._said(
                "callback",
                self.spec.callback.url or f"{self.spec.callback.type} {self.spec.callback.mq_name}",
            )
        for name, why in self.merged.dropped.items():
            yield Value(name, "", "derived", f"dropped: {why}")

    def _operation(self) -> Iterator[Value]:
        operation = self.spec.operation
        if operation.template_id:
            yield self._said("template_id", operation.template_id)
            return
        if operation.audio_mode is not None:
            derived = (
                "" if "audio_mode" in self.merged.sources else "follows from the named outputs"
            )
            yield self._said("audio_mode", operation.audio_mode.value, derived)
        for name in AUDIO:
            value = getattr(operation.audio, name)
            if value is not None:
                yield self._said(
                    name,
                    str(value),
                    "" if name in self.merged.sources else "the only one that the codec has",
                )

    def _outputs(self) -> Iterator[Value]:
        output = self.spec.output
        if self.recipe.bucket:
            yield self._said("output_bucket", output.bucket)
        if self.recipe.region:
            yield self._said("output_region", output.region)
        names = output.names()
        for name in STEMS:
            value = names.get(Stem(name))
            if value is not None:
                text = str(self.merged.values.get(name, ""))
                yield self._said(name, value, f"from {text}" if text != value else "")

    def _said(self, name: str, value: str, note: str = "") -> Value:
        at = self.merged.sources.get(name)
        if at is None:
            return Value(name, value, "derived" if note else "default", note)
        if at[0] == "inputs" and at != ("inputs", self.item.source):
            at = (
                "inputs",
                self.item.source,
            )  # the recipe is shared with another object that says the same
        path = (*at, *data_path(name))
        file, mark = self.manifest.files.where(path)
        if (
            name == "callback"
            and at == ("defaults",)
            and self.manifest.files.data.get("callback") is not None
        ):
            file, mark = self.manifest.files.where(("callback",))
        return Value(name, value, f"{file}:{mark.line}", note)

    def _carried(self, name: str, value: str, carried: bool) -> Value:
        """A level or user data that may come from the row or the object's own entry."""
        if not carried:
            text = str(self.merged.values.get(name, ""))
            return self._said(name, value, f"from {text}" if "{" in text else "")
        if isinstance(self.manifest.inputs[self.item.source], ObjectInput):
            file, mark = self.manifest.files.where(("inputs", self.item.source, name))
            return Value(name, value, f"{file}:{mark.line}")
        return Value(name, value, f"{self.item.file}:{self.item.line}", f"column {name}")

    def _place_origin(self, name: str) -> str:
        if self.item.columns.get(name):
            return f"{self.item.file}:{self.item.line}"
        path = ("inputs", self.item.source, name)
        if getattr(self.manifest.inputs[self.item.source], name) is None:
            path = (name,)  # type: ignore[assignment]  # a path of another length
            if getattr(self.manifest, name) and name not in self.manifest.files.data:
                return "default"
        file, mark = self.manifest.files.where(path)
        return f"{file}:{mark.line}"
