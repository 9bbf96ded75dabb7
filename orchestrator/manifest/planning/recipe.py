"""Recipes: the settings of one kind of job, merged and checked once for all its objects.

Precedence: defaults, source, rules, object, variant. Later layers win.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.domain.audio_formats import (
    CODECS,
    DEFAULT_CODEC,
    OTHER_EXTENSIONS,
    codec_of_extension,
    extension,
)
from orchestrator.domain.spec import AudioConfig, AudioMode, Callback, Operation, Stem
from orchestrator.domain.wording import listed
from orchestrator.manifest.schema import vendor_limits
from orchestrator.manifest.schema.job_settings import bucket_problem, region_problem
from orchestrator.manifest.template import Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orchestrator.errors import Fault
    from orchestrator.manifest.schema.job_settings import CallbackSettings, Problem, VariantSettings
    from orchestrator.manifest.yaml.document import Path


AUDIO = ("codec", "samplerate", "bitrate", "channels")
STEMS = ("voice", "background", "bass", "drums")
_PLAIN = ("level", "user_data", "queue_id", "callback", "group")
_INLINE = ("audio_mode", *AUDIO)


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings of one place in the manifest, by flat name: ``codec``, ``voice``, ``level`` ...

    Attributes:
        path: The place, for example ``("rules", 2)``.
        values: The settings.
    """

    path: Path
    values: Mapping[str, Any]


@dataclass(slots=True)
class Merged:
    """The settings that result from all layers.

    Attributes:
        values: By flat name; a name without a value is absent.
        sources: Path of the place that set each value.
        dropped: Reason for each value of an earlier layer that a later one made meaningless.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def drop(self, name: str, reason: str) -> None:
        """Remove the value of an earlier layer."""
        if self.values.pop(name, None) is not None:
            self.dropped[name] = reason
            self.sources.pop(name, None)

    def put(self, name: str, value: Any, path: Path) -> None:
        """Set a value that is written at ``path``."""
        self.values[name] = value
        self.sources[name] = path
        self.dropped.pop(name, None)


def data_path(name: str) -> tuple[str, ...]:
    """Return the path of a flat name inside settings: ``codec`` is under ``operation.audio``."""
    if name in AUDIO:
        return ("operation", "audio", name)
    if name in {"template_id", "audio_mode"}:
        return ("operation", name)
    if name in STEMS:
        return ("output", name)
    if name in {"output_bucket", "output_region"}:
        return ("output", name.removeprefix("output_"))
    return (name,)


def flat(settings: VariantSettings) -> dict[str, Any]:
    """Return the values that settings contain, by flat name."""
    values: dict[str, Any] = {name: getattr(settings, name) for name in _PLAIN}
    operation, output = settings.operation, settings.output
    if operation is not None:
        values["template_id"] = operation.template_id
        values["audio_mode"] = operation.audio_mode
        if operation.audio is not None:
            values.update((name, getattr(operation.audio, name)) for name in AUDIO)
    if output is not None:
        values["output_bucket"] = output.bucket
        values["output_region"] = output.region
        values.update((name, getattr(output, name)) for name in STEMS)
    return {name: value for name, value in values.items() if value is not None}


def merge(layers: Iterable[Layer]) -> Merged:
    """Merge layers; the first has the lowest precedence."""
    merged = Merged()
    for layer in layers:
        values = layer.values
        if "template_id" in values:
            for name in _INLINE:
                merged.drop(name, "a template replaced the inline parameters")
        elif any(name in values for name in _INLINE):
            merged.drop("template_id", "inline parameters replaced the template")
        if values.get("codec", merged.values.get("codec")) != merged.values.get("codec"):
            _drop_for_codec(merged, values["codec"])
        for name, value in values.items():
            merged.put(name, value, layer.path)
    return merged


def _drop_for_codec(merged: Merged, codec: str) -> None:
    """Drop the bitrate, chosen for the old codec, and what the new codec does not support."""
    merged.drop("bitrate", f"it was set for another codec than {codec}")
    if merged.values.get("samplerate") not in CODECS[codec].samplerates_hz:
        merged.drop("samplerate", f"{codec} does not support the inherited sample rate")
    if merged.values.get("channels") not in CODECS[codec].channels:
        merged.drop("channels", f"{codec} does not support the inherited channel count")


_WILDCARD_END = re.compile(r"\$\{[^{}]*\}$")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a job except its object.

    Attributes:
        variant: Name in the matrix, or empty.
        operation: The work to do.
        names: Template of the name of each stem that the mode makes.
        bucket: Bucket of the stems, or empty for the bucket of the input.
        region: Region of that bucket, or empty for the region of the input.
        extension: Value of ``${ext}``, or empty if a template of the account decides it.
        copied: Stems whose names end with a part of the object, which may be a false extension.
        level: JobLevel.
        user_data: Template of the user's data, or None.
        queue_id: Remote queue, or empty.
        callback: Callback, if any.
        group: Group that shares the limits, or empty.
        fields: Names that the templates use.
        seed: Hash of the operation and the place of the output. Equal for equal jobs of one object,
            whichever recipe makes them.
        merged: The settings and the places that set them, for explanations.
    """

    variant: str
    operation: Operation
    names: tuple[tuple[str, Template], ...]
    bucket: str
    region: str
    extension: str
    copied: tuple[str, ...]
    level: int
    user_data: Template | None
    queue_id: str
    callback: Callback | None
    group: str
    fields: frozenset[str]
    seed: int
    merged: Merged


class RecipeMaker:
    """Makes one recipe from layers.

    Args:
        params: Values that are the same for every object.
        known: Names that only the object knows (parts of its name, columns); None allows any name.
        at: Place to report a fault at if no setting caused it.
        fault: Makes a fault at a place of the manifest.

    Attributes:
        faults: Faults of the recipe, after ``make``.
    """

    def __init__(
        self,
        params: Mapping[str, str],
        known: Collection[str] | None,
        at: Path,
        fault: Callable[[str, Path, str], Fault],
    ) -> None:
        self.params = params
        self.known = known
        self.at = at
        self.fault = fault
        self.faults: list[Fault] = []
        self.merged = Merged()

    def make(self, layers: Sequence[Layer], variant: str = "") -> Recipe | None:
        """Return the recipe, or None if it has ``faults``."""
        self.merged = merge(layers)
        values = self.merged.values
        templates = [(Stem(name), self._template(name)) for name in STEMS]
        names = [(stem, template) for stem, template in templates if template is not None]
        operation = self._operation(dict(names))
        mode = operation.audio_mode
        if mode is not None:
            # A default may name stems that this mode does not make; those names are ignored.
            names = [(stem, template) for stem, template in names if stem in mode.stems]
        user_data = self._template("user_data")
        used = [template for _, template in names] + ([user_data] if user_data else [])
        bucket = self._constant("output_bucket", bucket_problem)
        region = self._constant("output_region", region_problem)
        codec = operation.audio.codec
        recipe = Recipe(
            variant=variant,
            operation=operation,
            names=tuple((stem.value, template) for stem, template in names),
            bucket=bucket,
            region=region,
            extension="" if operation.template_id else extension(codec),
            copied=tuple(
                stem.value
                for stem, template in names
                if template.text.endswith("}") and not _WILDCARD_END.search(template.text)
            ),
            level=values.get("level", 0),
            user_data=user_data,
            queue_id=self._constant("queue_id"),
            callback=_callback(values.get("callback")),
            group=self._constant("group"),
            fields=frozenset().union(*(template.fields for template in used)),
            seed=hash((operation, bucket, region, tuple(stem for stem, _ in names))),
            merged=self.merged,
        )
        return None if self.faults else recipe

    def _operation(self, names: dict[Stem, Template]) -> Operation:
        named = list(names)
        values = self.merged.values
        if values.get("template_id"):
            self._add_faults(vendor_limits.stem_faults(None, named), "output")
            return Operation(template_id=self._constant("template_id"))
        written = values.get("audio_mode")
        mode = AudioMode(written) if written else vendor_limits.mode_for(named)
        written_audio = AudioConfig(*(values.get(name) for name in AUDIO))
        made = {stem: names[stem] for stem in named if mode is None or stem in mode.stems}
        codec = self._codec(made)
        audio = vendor_limits.complete_audio(replace(written_audio, codec=codec), mode)
        faults = vendor_limits.stem_faults(mode, named) if mode else [("", _no_mode(named))]
        self._add_faults(faults, "output")
        self._add_faults(vendor_limits.audio_faults(audio, mode), "")
        return Operation(audio_mode=mode, audio=audio)

    def _codec(self, names: dict[Stem, Template]) -> str | None:
        """Return the codec: as written, else as the extension of the names says.

        A name ``.aac`` leaves it to the service, whose default is aac.
        """
        codec: str | None = self.merged.values.get("codec")
        meant: str | None = None
        for stem, template in names.items():
            ending = literal_extension(template.text)
            wanted = codec_of_extension(ending)
            if wanted is None and ending.lower() in OTHER_EXTENSIONS:
                message = f"The service makes {listed(CODECS, 'and')}, and this name ends with"
                self._add_fault(stem.value, f"{message} .{ending}. End it with .${{ext}}.")
            if wanted is None:
                continue
            if wanted != (codec or meant or wanted):
                by = "the codec is" if codec else "another stem's name says"
                message = f"This name ends with .{ending}, but {by} {codec or meant}."
                action = f"Set codec: {wanted}, or end the name with .${{ext}}."
                self._add_fault(stem.value, f"{message} {action}")
            meant = meant or wanted
        return codec or (None if meant == DEFAULT_CODEC else meant)

    # --- templates

    def _template(self, name: str) -> Template | None:
        text = self.merged.values.get(name)
        if not text:
            return None
        try:
            template = Template(text)
            if self.known is None:
                return template
            template.check({*self.known, *self.params})
            return template.fill(
                {key: value for key, value in self.params.items() if key not in self.known}
            )
        except TemplateError as error:
            self._add_fault(name, error.message, error.hint)
            # A placeholder, so that the name is not reported as missing as well.
            return Template("-")

    def _constant(self, name: str, check: Callable[[str], Problem | None] | None = None) -> str:
        """Return a value that only params may fill in."""
        text = self.merged.values.get(name)
        if not text:
            return ""
        try:
            template = Template(text)
            template.check(self.params)
            value = template.render(self.params)
        except TemplateError as error:
            self._add_fault(name, error.message, error.hint)
            return ""
        if check is not None and (problem := check(value)):
            self._add_fault(name, *problem)
        return value

    # --- faults

    def _add_faults(self, faults: list[tuple[str, str]], otherwise: str) -> None:
        for name, message in faults:
            self._add_fault(name or otherwise, message)

    def _add_fault(self, name: str, message: str, hint: str = "") -> None:
        """Add a fault at the place that set ``name``, else at a setting that comes close."""
        for candidate in (name, "audio_mode", "codec", *STEMS, "template_id"):
            if (place := self.merged.sources.get(candidate)) is not None:
                self.faults.append(self.fault(message, (*place, *data_path(candidate)), hint))
                return
        self.faults.append(self.fault(message, self.at, hint))


def literal_extension(template: str) -> str:
    """Return the extension at the end of a name, or empty if it has none or is filled in."""
    name = template.rpartition("/")[2]
    _, dot, ending = name.rpartition(".")
    return ending if dot and ending.isalnum() else ""


def _no_mode(named: list[Stem]) -> str:
    """Say why no mode follows from the named outputs."""
    if not named:
        return (
            "No output is named. Set where the stems go, "
            'for example output: {voice: "stems/{stem}/voice.${ext}"}.'
        )
    return (
        f"Outputs are named for {', '.join(named)}, but no audio_mode makes these stems. "
        "Name voice, background, both, or all four stems (MusicMode)."
    )


def _callback(settings: CallbackSettings | None) -> Callback | None:
    if settings is None:
        return None
    mq = settings.mq
    return Callback(
        url=settings.url or "",
        format=settings.format or "",
        type=settings.type or "",
        mq_region=mq.region if mq else "",
        mq_mode=mq.mode if mq else "",
        mq_name=mq.name if mq else "",
    )
