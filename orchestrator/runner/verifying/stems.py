"""Decide which object is which stem, and what a look at it proves. Pure.

Stems are recognised by the names that were requested, never by their position in the answer:
nothing there says which file is which.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.domain.audio_formats import extension
from orchestrator.domain.remote import RemoteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import ObjectHead
    from orchestrator.domain.spec import JobSpec, Stem

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_SAME_CLOCK_S = 60.0
"""Job times and object times come from two services of one vendor."""
_OWN_CLOCK_S = 1200.0
"""Our clock may differ from the vendor's by 15 minutes before it is corrected."""


def _matcher(name: str, job_id: str) -> Callable[[str], object]:
    """Return what is true for the names that the service may make of ``name``.

    ``${jobid}`` is known; ``${ext}`` and others are one part of a path. Most names have none: for
    each job, compiling a pattern would take as long as a third of a request.
    """
    if _PLACEHOLDER.search(name) is None:
        return name.__eq__
    parts: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(name):
        parts.append(re.escape(name[end : found.start()]))
        parts.append(re.escape(job_id) if found[1].lower() == "jobid" else "[^/]+")
        end = found.end()
    parts.append(re.escape(name[end:]))
    return re.compile("".join(parts)).fullmatch


def match_stems(spec: JobSpec, job_id: str, files: Sequence[RemoteFile]) -> dict[Stem, RemoteFile]:
    """Assign the reported files to stems; a stem that is not among them is left out."""
    matched: dict[Stem, RemoteFile] = {}
    free = list(files)
    for stem, name in spec.output.names().items():
        is_name = _matcher(name, job_id)
        file = next((file for file in free if is_name(file.object)), None)
        if file is not None:
            matched[stem] = file
            free.remove(file)
    return matched


def find_stems(spec: JobSpec, job_id: str, files: Sequence[RemoteFile]) -> dict[Stem, RemoteFile]:
    """Return where each stem must be: as the service reports, else as it was requested.

    A stem is left out if neither says its name: ``${ext}`` of a template is not known here.
    """
    found = match_stems(spec, job_id, files)
    for stem, name in spec.output.names().items():
        if stem not in found and (key := _requested(spec, name, {"jobid": job_id})) is not None:
            found[stem] = RemoteFile(key)
    return found


def name_before_job(spec: JobSpec, name: str) -> str | None:
    """Return the key that any job of this spec makes of a name; None if only the job decides it."""
    return _requested(spec, name, {})


def _requested(spec: JobSpec, name: str, known: Mapping[str, str]) -> str | None:
    """Return the key that the service makes of a requested name, or None if it is not known."""
    values = dict(known)
    if not spec.operation.template_id:
        values["ext"] = extension(spec.operation.audio.codec)
    words = {word.lower() for word in _PLACEHOLDER.findall(name)}
    if not words <= values.keys():
        return None
    return _PLACEHOLDER.sub(lambda found: values[found[1].lower()], name)


def expected_stems(spec: JobSpec) -> tuple[Stem, ...]:
    """Return the stems that must be there: those with a name that the mode makes.

    The mode of a template is unknown here, so with a template no stem is certain.
    """
    named = spec.output.names()
    mode = spec.operation.audio_mode
    return tuple(stem for stem in named if mode is not None and stem in mode.stems)


def doubt_about(job: Job, created_at: float | None, file: RemoteFile, head: ObjectHead) -> str:
    """Return why an object may not be the stem that this job wrote; empty if it is.

    Args:
        job: The job.
        created_at: When the service accepted it, by the service's clock, or None.
        file: The object as the service reports it.
        head: The object as the storage has it.
    """
    if not head.size_bytes:
        return "is empty"
    began_at = (job.intent_at or 0.0) - _OWN_CLOCK_S
    if created_at is not None:
        began_at = created_at - _SAME_CLOCK_S
    if head.modified_at is not None and head.modified_at < began_at:
        return "is older than the job"
    etag = head.etag.lower()
    # The ETag of an object uploaded in parts, or encrypted, is not an MD5.
    if file.md5 and _MD5.fullmatch(file.md5) and _MD5.fullmatch(etag) and file.md5 != etag:
        return "has another MD5 than the service reported"
    return ""
