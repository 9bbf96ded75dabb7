"""From media objects to job specs: overrides, output names, keys, collisions. A stream: a batch of objects in, their specs out.

The job key (version 1) is ``v1.`` and the lower-case base32 of the first 20 bytes of the SHA-256 of this JSON array, written without
spaces, as UTF-8, absent values as null::

    ["v1", bucket, region, object, etag, template_id, audio_mode, codec, samplerate, bitrate, channels,
     output bucket, output region, voice, background, bass, drums]

Nothing else is part of it: not the level, the callback, the user data or the place in the manifest. Anyone can compute it again.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.spec import JobKey, JobSpec, Origin, Output
from orchestrator.domain.wording import quoted
from orchestrator.errors import Fault, PlanError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.output_claims import Claims, InMemory, Records
from orchestrator.manifest.planning.resolver import Recipes
from orchestrator.manifest.schema import vendor_limits
from orchestrator.manifest.template import PART_NAMES, TemplateError, object_name, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.domain.spec import MediaObject, Operation
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.planning.output_claims import Scratch
    from orchestrator.manifest.planning.recipe import Recipe
    from orchestrator.manifest.sources.item import SourceItem

KEY_VERSION = "v1"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_GROUPS = tuple(slice(start, start + 5) for start in range(0, 20, 5))
"""20 bytes, 160 bits: two of a billion jobs share a key with a chance of one in 10^30."""


def job_key(media: MediaObject, operation: Operation, output: Output) -> JobKey:
    """The identity of a job: the same object, version, parameters and outputs give the same key everywhere (see the module's head)."""
    audio = operation.audio
    identity = [
        KEY_VERSION, media.bucket, media.region, media.key, media.etag or None,
        operation.template_id or None, operation.audio_mode, audio.codec, audio.samplerate, audio.bitrate, audio.channels,
        output.bucket, output.region, output.voice or None, output.background or None, output.bass or None, output.drums or None,
    ]  # fmt: skip
    digest = hashlib.sha256(orjson.dumps(identity)).digest()
    return JobKey(f"{KEY_VERSION}.{_base32(digest)}")


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def _base32(digest: bytes) -> str:
    """RFC 4648 base32 of the first 20 bytes, in lower case; two letters at a time (the standard library takes four times as long)."""
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
    """Makes the job specs of one manifest, and watches that they do not contradict each other.

    Feed it all batches of one reading of the sources, in order. What it keeps grows by about 60 bytes per job, of which all but ten
    go to the scratches.

    Args:
        manifest: The manifest.
        faults: Takes what is wrong, and planning goes on without those jobs. If left out, :meth:`specs` raises.
        scratch: Makes places for what need not be in memory.
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
        self._claims = Claims(scratch())
        self._jobs = Records(scratch())  # of each job, the fingerprint and the line
        self._runs: list[
            tuple[int, str, int]
        ] = []  # first job number, file, source: where runs of jobs come from
        self._labels = [f"inputs[{index}]" for index in range(len(manifest.inputs))]
        self.duplicates = 0
        """Objects that were asked for twice with the same parameters."""

    def __len__(self) -> int:
        """Jobs so far."""
        return len(self._jobs)

    def specs(self, items: Sequence[SourceItem]) -> list[JobSpec]:
        """The jobs of a batch of objects; an object that was asked for before with the same parameters gives no second one.

        Raises:
            PlanError: With every fault of the batch, unless the planner was given a list for them.
        """
        made: list[JobSpec] = []
        for item in items:
            recipes = self.recipes.of(item)
            if not recipes:
                continue
            complaint = vendor_limits.key_fault(item.media.key)
            if complaint:
                self._fault(item, complaint)
                continue
            for recipe in recipes:
                spec = self.spec(item, recipe)
                if spec is not None:
                    made.append(spec)
        if not self._collecting:
            self.faults.raise_if_any(PlanError)
        return made

    def spec(self, item: SourceItem, recipe: Recipe) -> JobSpec | None:
        """The job of one object by one recipe; None if it is known already, or must not be."""
        media = item.media
        try:
            values = self._values(item, recipe)
            names = {stem: object_name(template.render(values)) for stem, template in recipe.names}
            own = item.user_data
            if own is None:
                own = recipe.user_data.render(values) if recipe.user_data is not None else ""
        except TemplateError as error:
            self._fault(item, error.message, error.hint)
            return None
        for name in names.values():
            if complaint := vendor_limits.key_fault(name):
                self._fault(item, f"As an output: {complaint}")
                return None
        output = Output(recipe.bucket or media.bucket, recipe.region or media.region, **names)
        key = job_key(media, recipe.operation, output)
        if own and (complaint := vendor_limits.user_data_fault(f"{key} {own}", own)):
            self._fault(item, complaint)
            return None
        if not self._is_new(item, output.bucket, recipe, list(names.values())):
            return None
        level = recipe.level if item.level is None else item.level
        origin = Origin(item.file, item.line, self._labels[item.source])
        return JobSpec(
            key,
            media,
            recipe.operation,
            output,
            level,
            own,
            recipe.queue_id,
            recipe.callback,
            recipe.group,
            origin,
        )

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
            values.update(
                bucket=item.media.bucket,
                region=item.media.region,
                index=str(item.number),
                variant=recipe.variant,
            )
        return values

    # --- contradictions

    def _is_new(self, item: SourceItem, bucket: str, recipe: Recipe, names: list[str]) -> bool:
        """Claim the job's objects; False if the job is known already, or must not be."""
        number = len(self._jobs)
        media = item.media
        # The version is left out: the same object from a listing (version known) and from a list (unknown) is one job, the first.
        fingerprint = hash((recipe.seed, media.key, media.bucket, media.region, *names))
        written = _written(names, recipe.extension)
        if len(written) > 1 and len(set(written)) < len(written):
            self._fault(
                item,
                f"Two stems would be written to the same object, {quoted(written[0])}. Give them different names.",
            )
            return False
        claim = self._claims.claim
        for name in written:
            taken = claim(hash((bucket, name)), number, is_input=False)
            if taken is not None:
                return self._taken(item, fingerprint, name, taken)
        if not written and (taken := claim(fingerprint, number, is_input=False)) is not None:
            return self._taken(item, fingerprint, "", taken)
        self._remember(item, number, fingerprint)
        taken = claim(hash((media.bucket, media.key)), number, is_input=True)
        if taken is not None:
            where = "" if taken[0] == number else str(self._origin(taken[0]))
            self._fault(item, self._overwrites(media.key, where, is_output=True))
            return False
        return True

    def _remember(self, item: SourceItem, number: int, fingerprint: int) -> None:
        self._jobs.append(fingerprint, item.line)
        if not self._runs or self._runs[-1][2] != item.source or self._runs[-1][1] != item.file:
            self._runs.append((number, item.file, item.source))

    def _taken(
        self, item: SourceItem, fingerprint: int, name: str, taken: tuple[int, bool]
    ) -> bool:
        other, reads = taken
        if other < len(self._jobs) and self._jobs[other][0] == fingerprint:
            self.duplicates += 1
            return False
        if reads:
            self._fault(item, self._overwrites(name, str(self._origin(other)), is_output=False))
        elif other < len(self._jobs):
            origin = self._origin(other)
            same = (origin.file, origin.line, origin.source) == (
                item.file,
                item.line,
                self._labels[item.source],
            ) and item.line
            where = "another variant of this object" if same else f"the job of {origin}"
            way_out = "Make the names differ, for example with {dir}, {ext} or {variant}."
            text = f"The output {quoted(name)} is already written by {where}. {way_out}"
            self._fault(item, text)
        return False

    @staticmethod
    def _overwrites(name: str, where: str, *, is_output: bool) -> str:
        way_out = "Write the outputs under a prefix of their own"
        if not where:
            return f"The job would overwrite its own input {quoted(name)}. {way_out}."
        told = (
            "is an output of the job of"
            if is_output
            else "would be overwritten: it is the input of"
        )
        return f"{quoted(name)} {told} {where}. {way_out}, and exclude that prefix from the inputs."

    def _origin(self, number: int) -> Origin:
        run = self._runs[bisect_right(self._runs, number, key=lambda run: run[0]) - 1]
        return Origin(run[1], self._jobs[number][1], self._labels[run[2]])

    def _fault(self, item: SourceItem, message: str, hint: str = "") -> None:
        self.faults.add(
            Fault(message, item.file, item.line, path=self._labels[item.source], hint=hint)
        )


def _written(names: list[str], extension: str) -> list[str]:
    """The names that a job will write, as far as they are known: one with ``${jobid}`` is nobody else's."""
    written = []
    for name in names:
        if "${" not in name:
            written.append(name)
        elif "${jobid}" not in name:
            written.append(name.replace("${ext}", extension) if extension else name)
    return written
