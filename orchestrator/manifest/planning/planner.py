"""Job specs from media objects, batch by batch: settings, output names, keys, collisions.

The job key (version 1) is ``v1.`` and the lower-case base32 of the first 20 bytes of the SHA-256 of
this JSON array, written without spaces, as UTF-8, absent values as null::

    ["v1", bucket, region, object, etag, template_id, audio_mode,
     codec, samplerate, bitrate, channels,
     output bucket, output region, voice, background, bass, drums]

If the local service uses another engine than the default one, its identity follows: the SHA-256 of
its files, or the name and version of its package (``manifest.engines``).

Nothing else is part of it: not the level, the callback, the user data or the place in the manifest.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.audio_formats import is_false_extension
from orchestrator.domain.spec import (
    REFUSED_KEY,
    JobKey,
    JobSpec,
    Operation,
    Origin,
    Output,
    Refusal,
)
from orchestrator.domain.wording import counted, printable, quoted
from orchestrator.errors import Fault, PlanError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.local_buckets import ObjectPlaces
from orchestrator.manifest.manifest import LocalServiceSettings
from orchestrator.manifest.planning.output_claims import Claims, InMemory, Names, Records
from orchestrator.manifest.planning.resolver import Recipes
from orchestrator.manifest.schema import vendor_limits
from orchestrator.manifest.schema.inputs import ObjectInput
from orchestrator.manifest.template import PART_NAMES, TemplateError, object_name, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.domain.spec import MediaObject
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.planning.output_claims import Scratch
    from orchestrator.manifest.planning.recipe import Recipe
    from orchestrator.manifest.sources.item import SourceItem

KEY_VERSION = "v1"
INVALID_ROW = "InvalidRow"
INVALID_OBJECT_NAME = "InvalidObjectName"
INVALID_OUTPUT_NAME = "InvalidOutputName"
OUTPUT_TAKEN = "OutputTaken"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
SEPARATE = "Write the outputs under a separate prefix"
"""Way out of every conflict of an output with an input."""
_GROUPS = tuple(slice(start, start + 5) for start in range(0, 20, 5))
"""20 bytes are 160 bits: the chance that two of a billion jobs share a key is one in 10^30."""


def job_key(media: MediaObject, operation: Operation, output: Output, engine: str = "") -> JobKey:
    """Return the identity of a job, defined at the top of this module."""
    audio = operation.audio
    identity = [
        KEY_VERSION, media.bucket, media.region, media.key, media.etag or None,
        operation.template_id or None, operation.audio_mode,
        audio.codec, audio.samplerate, audio.bitrate, audio.channels, output.bucket, output.region,
        output.voice or None, output.background or None, output.bass or None, output.drums or None,
    ]  # fmt: skip
    if engine:
        identity.append(engine)
    digest = hashlib.sha256(orjson.dumps(identity)).digest()
    return JobKey(f"{KEY_VERSION}.{_base32(digest)}")


def refused_key(media: MediaObject, item: SourceItem, code: str) -> JobKey:
    """Return the identity of an object that cannot be requested.

    It never equals the key of a job, so the object is planned once its fault is fixed. A row
    without a name is identified by its place.
    """
    place = None if media.key else (item.file, item.line)
    identity = [REFUSED_KEY, code, media.bucket, media.region, media.key, media.etag, place]
    return JobKey(f"{REFUSED_KEY}{_base32(hashlib.sha256(orjson.dumps(identity)).digest())}")


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def _base32(digest: bytes) -> str:
    """Return RFC 4648 base32 of the first 20 bytes, in lower case.

    It is built by two letters at a time, four times as fast as the standard library.
    """
    text = ""
    for group in _GROUPS:
        bits = int.from_bytes(digest[group], "big")
        text += (
            _PAIRS[bits >> 30]
            + _PAIRS[bits >> 20 & 1023]
            + _PAIRS[bits >> 10 & 1023]
            + _PAIRS[bits & 1023]
        )
    return text


class Planner:
    """Makes the job specs of one manifest, and checks that they do not contradict each other.

    It takes all batches of one pass over the sources, in order. It keeps about 60 bytes per job,
    all but ten of them in scratch files.

    Args:
        manifest: The manifest.
        faults: Collects every fault, and planning continues without the faulty jobs. If left out,
            :meth:`specs` raises faults of the manifest, and returns an object of a list or a
            listing that cannot be requested as a job with a ``refusal``.
        scratch: Makes storage for data that need not be in memory.
    """

    def __init__(
        self,
        manifest: Manifest,
        faults: FaultList | None = None,
        scratch: Callable[[], Scratch] = InMemory,
    ) -> None:
        self.manifest = manifest
        self.faults = FaultList() if faults is None else faults
        self._collecting = faults is not None
        self.recipes = Recipes(manifest, self.faults)
        service = manifest.service
        self._engine = service.engine_identity if isinstance(service, LocalServiceSettings) else ""
        self._places = ObjectPlaces(manifest)
        self._claims = Claims(scratch())
        self._jobs = Records(scratch())  # fingerprint and line of each job
        self._names = Names(scratch(), scratch())  # name of the object of each job
        # Consecutive jobs from one file and source: number of the first job, file, source.
        self._stretches: list[tuple[int, str, int]] = []
        self._labels = [f"inputs[{index}]" for index in range(len(manifest.inputs))]
        self.duplicates = 0
        """Jobs that were left out because the same job was planned before."""
        self._false_extensions = 0
        self._false_extension: tuple[str, str] | None = None
        self._are_single = [isinstance(each, ObjectInput) for each in manifest.inputs]

    def __len__(self) -> int:
        """Return the number of jobs planned until now."""
        return len(self._jobs)

    def specs(self, items: Sequence[SourceItem]) -> list[JobSpec]:
        """Return the jobs of a batch of objects, without jobs that were planned before.

        Raises:
            PlanError: With every fault of the batch, unless the planner has a list for them.
        """
        made: list[JobSpec] = []
        for item in items:
            if item.problem is not None:
                made += self._refused(item, INVALID_ROW, *item.problem)
                continue
            recipes = self.recipes.of(item)
            if not recipes:
                continue
            if fault := vendor_limits.key_fault(item.media.key):
                made += self._refused(item, INVALID_OBJECT_NAME, fault)
                continue
            for recipe in recipes:
                spec = self.spec(item, recipe)
                if spec is not None:
                    made.append(spec)
        if not self._collecting:
            self.faults.raise_if_any(PlanError)
        return made

    def spec(self, item: SourceItem, recipe: Recipe) -> JobSpec | None:
        """Return the job of one object by one recipe; None if it is a duplicate or has faults."""
        try:
            return self._spec(item, recipe)
        except _Refused as refused:
            found = self._refused(item, refused.code, str(refused), refused.hint)
            return found[0] if found else None

    def _spec(self, item: SourceItem, recipe: Recipe) -> JobSpec | None:
        media = item.media
        try:
            values = self._values(item, recipe)
            names = {stem: object_name(template.render(values)) for stem, template in recipe.names}
            own = item.user_data
            if own is None:
                own = recipe.user_data.render(values) if recipe.user_data is not None else ""
        except TemplateError as error:
            raise _Refused(INVALID_ROW, error.message, error.hint) from error
        for stem, template in recipe.names:
            name = names[stem]
            if fault := vendor_limits.key_fault(name):
                raise _Refused(INVALID_OUTPUT_NAME, f"Output: {fault}")
            if "${" in name and name.count("${") != template.wildcards:
                raise _Refused(INVALID_OUTPUT_NAME, _expanded_fault(name))
        output = Output(recipe.bucket or media.bucket, recipe.region or media.region, **names)
        key = job_key(media, recipe.operation, output, self._engine)
        if own and (fault := vendor_limits.user_data_fault(f"{key} {own}", own)):
            raise _Refused(INVALID_ROW, fault)
        if not self._is_new(item, output.bucket, recipe, list(names.values())):
            return None
        if recipe.copied and recipe.extension:
            self._note_false_extensions(recipe, names)
        level = recipe.level if item.level is None else item.level
        origin = Origin(item.file, item.line, self._labels[item.source])
        queue_id, callback, group = recipe.queue_id, recipe.callback, recipe.group
        return JobSpec(
            key, media, recipe.operation, output, level, own, queue_id, callback, group, origin
        )

    def _note_false_extensions(self, recipe: Recipe, names: Mapping[str, str]) -> None:
        for stem in recipe.copied:
            if is_false_extension(names[stem], recipe.extension):
                self._false_extensions += 1
                self._false_extension = self._false_extension or (names[stem], recipe.extension)

    def remarks(self) -> list[str]:
        """Return remarks on the jobs, after all were planned."""
        if self._false_extension is None:
            return []
        name, codec = self._false_extension
        number = self._false_extensions
        stems = counted(number, "name ends", "names end")
        text = f"{stems} with another format than the codec: {quoted(name)} will be {codec}."
        return [f"{text} End names with .${{ext}}, or set the codec."]

    @staticmethod
    def _values(item: SourceItem, recipe: Recipe) -> Mapping[str, str]:
        fields = recipe.fields
        values: dict[str, str] = {}
        if not fields:
            return values
        if item.columns:
            values.update(item.columns)
        if not fields.isdisjoint(PART_NAMES):
            values.update(parts_of(item.media.key))
        if not fields.isdisjoint(("bucket", "region", "index", "variant")):
            values["bucket"], values["region"] = item.media.bucket, item.media.region
            values["index"], values["variant"] = str(item.number), recipe.variant
        return values

    # --- contradictions

    def _is_new(self, item: SourceItem, bucket: str, recipe: Recipe, names: list[str]) -> bool:
        """Claim the job's objects; return False if the job is a duplicate or has a conflict."""
        number = len(self._jobs)
        media = item.media
        # Without the version: an object from a listing (known version) and from a list (unknown) is
        # one job, the first one.
        fingerprint = hash((recipe.seed, media.key, media.bucket, media.region, *names))
        written = _written(names, recipe.extension)
        if len(written) > 1 and len(set(written)) < len(written):
            name = next(name for name in written if written.count(name) > 1)
            message = f"Two stems have the same output {quoted(name)}. Give them different names."
            texts = _written([template.text for _, template in recipe.names], recipe.extension)
            if len(set(texts)) < len(texts):  # of every object
                self._fault(item, message)
                return False
            raise _Refused(INVALID_OUTPUT_NAME, message)
        places = [self._places.of(bucket, name) for name in written]
        own = self._places.of(media.bucket, media.key)
        if own in places:
            message = f"The job would overwrite its own input {quoted(media.key)}."
            raise _Refused(OUTPUT_TAKEN, f"{message} {SEPARATE}.")
        values = [hash(place) for place in places] if places else [fingerprint]
        conflict = self._claims.claim_outputs(values, number)
        if conflict is not None:
            place, *other = conflict
            self._conflict(item, fingerprint, written[place] if written else "", other)
            return False
        self._add(item, number, fingerprint)
        taken = self._claims.claim(hash(own), number, is_input=True)
        if taken is None:
            return True
        # The earlier job may be sent already, and would overwrite this object: stop.
        self._fault(item, self._overwrite_fault(media.key, "is an output of the job of", taken[0]))
        return False

    def _add(self, item: SourceItem, number: int, fingerprint: int) -> None:
        self._jobs.append(fingerprint, item.line)
        self._names.append(item.media.key)
        if (
            not self._stretches
            or self._stretches[-1][2] != item.source
            or self._stretches[-1][1] != item.file
        ):
            self._stretches.append((number, item.file, item.source))

    def _conflict(
        self, item: SourceItem, fingerprint: int, name: str, taken: Sequence[int]
    ) -> None:
        """Count a duplicate, or refuse the job, for an output that an earlier job claimed."""
        other, is_read = taken
        if self._jobs[other][0] == fingerprint:
            self.duplicates += 1
        elif is_read:
            relation = "would be overwritten: it is the input of"
            raise _Refused(OUTPUT_TAKEN, self._overwrite_fault(name, relation, other))
        else:
            action = "Make the names differ, for example with {dir}, {ext} or {variant}."
            message = f"The output {quoted(name)} is already written by"
            by, where = self._names[other], self._origin(other)
            here = Origin(item.file, item.line, self._labels[item.source])
            if by == item.media.key and where == here:
                self._fault(item, f"{message} another variant of this object. {action}")
                return
            message = f"{message} the job of {quoted(by)}, {where}. {action}"
            raise _Refused(OUTPUT_TAKEN, message)

    def _overwrite_fault(self, name: str, relation: str, other: int) -> str:
        message = f"{quoted(name)} {relation} {quoted(self._names[other])}, {self._origin(other)}."
        return f"{message} {SEPARATE}, and exclude that prefix from the inputs."

    def _origin(self, number: int) -> Origin:
        index = bisect_right(self._stretches, number, key=lambda stretch: stretch[0]) - 1
        _, file, source = self._stretches[index]
        return Origin(file, self._jobs[number][1], self._labels[source])

    # --- faults

    def _fault(self, item: SourceItem, message: str, hint: str = "") -> None:
        self.faults.add(
            Fault(message, item.file, item.line, path=self._labels[item.source], hint=hint)
        )

    def _refused(self, item: SourceItem, code: str, message: str, hint: str = "") -> list[JobSpec]:
        """Return the object as a job that cannot be requested.

        It is a fault instead, and nothing is returned, if faults are collected or if the manifest
        itself names the object.
        """
        if self._collecting or self._are_single[item.source]:
            self._fault(item, message, hint)
            return []
        media, columns = item.media, item.columns
        where = Fault("", item.file, item.line) if columns or item.problem else Fault("")
        text = str(replace(where, message=message, hint=hint))
        origin = Origin(item.file, item.line, self._labels[item.source])
        media = replace(media, key=printable(media.key), etag=printable(media.etag))
        return [
            JobSpec(
                refused_key(media, item, code),
                media,
                Operation(),
                Output(media.bucket, media.region),
                level=item.level or 0,
                origin=origin,
                refusal=Refusal(code, text),
            )
        ]


class _Refused(Exception):
    """One object cannot be requested; the others can."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def _expanded_fault(name: str) -> str:
    return (
        f"The output {quoted(name)} has a ${{...}} that comes from the object or its row, and the "
        "service would replace it. Use {index}, the filter slug, or a column for the name."
    )


def _written(names: list[str], extension: str) -> list[str]:
    """Return the names that a job will write, without those that ``${jobid}`` makes unique."""
    written = []
    for name in names:
        if "${" not in name:
            written.append(name)
        elif "${jobid}" not in name:
            written.append(name.replace("${ext}", extension) if extension else name)
    return written
