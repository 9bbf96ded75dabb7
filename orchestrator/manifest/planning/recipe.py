"""How the jobs of one kind of object are made: settings laid over each other once, checked once, then used for a million objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.audio_formats import extension
from orchestrator.domain.spec import AudioConfig, AudioMode, Callback, Operation, Stem
from orchestrator.manifest.planning.precedence import STEMS, Laid, data_path, lay
from orchestrator.manifest.schema import vendor_limits
from orchestrator.manifest.schema.job_settings import valid_bucket, valid_region
from orchestrator.manifest.template import Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from orchestrator.errors import Fault
    from orchestrator.manifest.planning.precedence import Layer
    from orchestrator.manifest.schema.job_settings import CallbackSettings
    from orchestrator.manifest.yaml.document import Path

    MakeFault = Callable[[str, Path, str], Fault]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a job except the object itself.

    Attributes:
        variant: Name in the matrix, or empty.
        operation: What is asked.
        names: For each stem of the mode, the template of its name.
        bucket: Bucket of the stems, or empty for the input's.
        region: Its region, or empty for the input's.
        extension: What ``${ext}`` will be, or empty if a template of the account decides.
        level: JobLevel.
        user_data: Template of the user's data, or None.
        queue_id: Remote queue, or empty.
        callback: Callback, if any.
        group: Share, or empty.
        fields: Names that the templates use.
        seed: Hash of the operation and the output's place: equal for equal jobs of one object, whichever recipe made them.
        laid: The settings with their places, for explanations.
    """

    variant: str
    operation: Operation
    names: tuple[tuple[str, Template], ...]
    bucket: str
    region: str
    extension: str
    level: int
    user_data: Template | None
    queue_id: str
    callback: Callback | None
    group: str
    fields: frozenset[str]
    seed: int
    laid: Laid


class RecipeMaker:
    """Makes one recipe of layers.

    Args:
        params: Values that are the same for every object.
        known: Names that only the object knows (its parts, its columns); None takes every name for known.
        at: The place to blame if no setting is to blame.
        fault: Makes a fault at a place of the manifest.
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
        self.laid = Laid()

    def make(self, layers: Sequence[Layer], variant: str = "") -> Recipe | None:
        """The recipe, or None if ``faults`` says why there is none."""
        self.laid = lay(layers)
        values = self.laid.values
        names = self._names()
        operation = self._operation([stem for stem, _ in names])
        mode = operation.audio_mode
        if mode is not None:
            # A default may name stems that this job's mode does not make: those names mean nothing here.
            names = [(stem, template) for stem, template in names if stem in mode.stems]
        user_data = self._template("user_data")
        templates = [template for _, template in names] + ([user_data] if user_data else [])
        bucket = self._constant("output_bucket", valid_bucket)
        region = self._constant("output_region", valid_region)
        recipe = Recipe(
            variant=variant,
            operation=operation,
            names=tuple((stem.value, template) for stem, template in names),
            bucket=bucket,
            region=region,
            extension="" if operation.template_id else extension(operation.audio.codec),
            level=values.get("level", 0),
            user_data=user_data,
            queue_id=self._constant("queue_id"),
            callback=_callback(values.get("callback")),
            group=self._constant("group"),
            fields=frozenset().union(*(template.fields for template in templates)),
            seed=hash((operation, bucket, region, tuple(stem for stem, _ in names))),
            laid=self.laid,
        )
        return None if self.faults else recipe

    # --- what is asked

    def _operation(self, named: list[Stem]) -> Operation:
        values = self.laid.values
        if values.get("template_id"):
            self._blame_all(vendor_limits.stem_faults(None, named), "output")
            return Operation(template_id=self._constant("template_id"))
        mode = self._mode(named)
        audio = vendor_limits.complete_audio(
            AudioConfig(
                *(values.get(name) for name in ("codec", "samplerate", "bitrate", "channels"))
            ),
            mode,
        )
        if mode is None:
            self._blame_all(_unclear(named), "output")
        else:
            self._blame_all(vendor_limits.stem_faults(mode, named), "output")
        self._blame_all(vendor_limits.audio_faults(audio, mode), "")
        return Operation(audio_mode=mode, audio=audio)

    def _mode(self, named: list[Stem]) -> AudioMode | None:
        said = self.laid.values.get("audio_mode")
        return AudioMode(said) if said else vendor_limits.mode_for(named)

    # --- templates

    def _names(self) -> list[tuple[Stem, Template]]:
        said = [(Stem(name), self._template(name)) for name in STEMS]
        return [(stem, template) for stem, template in said if template is not None]

    def _template(self, name: str) -> Template | None:
        text = self.laid.values.get(name)
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
            self._blame(name, error.message, error.hint)
            # Something must stand for the name, so that it is not told as missing as well.
            return Template("-")

    def _constant(self, name: str, valid: Callable[[str], str] | None = None) -> str:
        text = self.laid.values.get(name)
        if not text:
            return ""
        try:
            template = Template(text)
            template.check(self.params)
            value = template.render(self.params)
        except TemplateError as error:
            self._blame(name, error.message, error.hint)
            return ""
        if valid is not None and (complaint := valid(value)):
            self._blame(name, complaint)
        return value

    # --- blame

    def _blame_all(self, faults: list[tuple[str, str]], otherwise: str) -> None:
        for name, message in faults:
            self._blame(name or otherwise, message)

    def _blame(self, name: str, message: str, hint: str = "") -> None:
        """A fault at the place that said ``name``; if nobody did, at the nearest thing that was said."""
        said_at = self.laid.sources.get(name)
        if said_at is not None:
            self.faults.append(self.fault(message, (*said_at, *data_path(name)), hint))
            return
        for near in ("audio_mode", "codec", *STEMS, "template_id"):
            if (said_at := self.laid.sources.get(near)) is not None:
                self.faults.append(self.fault(message, (*said_at, *data_path(near)), hint))
                return
        self.faults.append(self.fault(message, self.at, hint))


def _unclear(named: list[Stem]) -> list[tuple[str, str]]:
    if not named:
        return [
            (
                "",
                'No output is named. Say where the stems go, for example output: {voice: "stems/{stem}/voice.${ext}"}.',
            )
        ]
    stems = ", ".join(named)
    return [
        (
            "",
            f"Outputs are named for {stems}, which no audio_mode makes. Name voice, background, both, or all four stems (MusicMode).",
        )
    ]


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
