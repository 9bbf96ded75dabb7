"""Media objects and job specs: the work to request, before any request exists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType

from orchestrator.domain.usual_length import seconds_of_size, suffix_of

JobKey = NewType("JobKey", str)
"""Stable identity of a job spec: the same object, version, parameters and outputs give the same key
everywhere (``manifest.planning.planner.job_key``)."""


class Stem(StrEnum):
    """One of the audio stems that a separation can produce."""

    VOICE = "voice"
    BACKGROUND = "background"
    BASS = "bass"
    DRUMS = "drums"


class AudioMode(StrEnum):
    """Choice of the stems that a job produces, in the vendor's words."""

    IS_AUDIO = "IsAudio"
    IS_BACKGROUND = "IsBackground"
    AUDIO_AND_BACKGROUND = "AudioAndBackground"
    MUSIC_MODE = "MusicMode"

    @property
    def stems(self) -> tuple[Stem, ...]:
        """Stems that this mode produces."""
        return _STEMS[self]


_STEMS: dict[AudioMode, tuple[Stem, ...]] = {
    AudioMode.IS_AUDIO: (Stem.VOICE,),
    AudioMode.IS_BACKGROUND: (Stem.BACKGROUND,),
    AudioMode.AUDIO_AND_BACKGROUND: (Stem.VOICE, Stem.BACKGROUND),
    AudioMode.MUSIC_MODE: (Stem.VOICE, Stem.BACKGROUND, Stem.BASS, Stem.DRUMS),
}


class Place(NamedTuple):
    """A bucket and its region, the parts of the vendor's host names."""

    bucket: str
    region: str


@dataclass(frozen=True, slots=True)
class MediaObject:
    """One stored file to be processed.

    Attributes:
        bucket: Bucket with its account number, ``name-1250000000``.
        region: Region of the bucket, ``ap-chongqing``.
        key: Object key, without a leading slash.
        etag: Version of the content without quotes (from a listing, a list column or the
            manifest); empty if unknown.
        size_bytes: Size, if known.
        duration_s: Length of the sound, if known; for estimates only.
    """

    bucket: str
    region: str
    key: str
    etag: str = ""
    size_bytes: int | None = None
    duration_s: float | None = None

    @property
    def place(self) -> Place:
        """Bucket and region of the object."""
        return Place(self.bucket, self.region)

    @property
    def expected_s(self) -> float | None:
        """Length of the sound if known, else as the size lets expect; None if neither is known."""
        return self.by_size_s if self.duration_s is None else self.duration_s

    @property
    def by_size_s(self) -> float | None:
        """Usual length of files of this size and kind; None if the size is not known."""
        if self.size_bytes is None:
            return None
        return seconds_of_size(suffix_of(self.key), self.size_bytes)


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """Encoding of the stems; None leaves a value to the service.

    Attributes:
        codec: ``aac``, ``mp3``, ``flac``, ``amr`` or ``wav``.
        samplerate: Hz.
        bitrate: kbit/s.
        channels: Channel count.
    """

    codec: str | None = None
    samplerate: int | None = None
    bitrate: int | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """Operation to request: a template of the account, or inline parameters; never both."""

    template_id: str = ""
    audio_mode: AudioMode | None = None
    audio: AudioConfig = AudioConfig()


@dataclass(frozen=True, slots=True)
class Output:
    """Destination of the stems.

    Names may contain the service's own ``${ext}`` and ``${jobid}``. A stem without a name is not
    written.
    """

    bucket: str
    region: str
    voice: str = ""
    background: str = ""
    bass: str = ""
    drums: str = ""

    def names(self) -> dict[Stem, str]:
        """Return the stems that have a name, in the vendor's order."""
        named = (
            (Stem.VOICE, self.voice),
            (Stem.BACKGROUND, self.background),
            (Stem.BASS, self.bass),
            (Stem.DRUMS, self.drums),
        )
        return {stem: name for stem, name in named if name}

    @property
    def place(self) -> Place:
        """Bucket and region of the stems."""
        return Place(self.bucket, self.region)


@dataclass(frozen=True, slots=True)
class Callback:
    """Address for the service's notice that a job ended.

    A callback is a hint: orchestrator believes only the answers to its own queries.

    Attributes:
        url: Address that the service POSTs to, or ``no`` to silence the queue's own callback.
        format: ``XML`` or ``JSON``.
        type: ``Url`` or ``TDMQ``.
        mq_region: Message queue region (``sh bj gz cd hk``), for TDMQ.
        mq_mode: ``Queue`` or ``Topic``, for TDMQ.
        mq_name: Queue or topic name, for TDMQ.
    """

    url: str = ""
    format: str = ""
    type: str = ""
    mq_region: str = ""
    mq_mode: str = ""
    mq_name: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Place where the user asked for a job.

    Attributes:
        file: The manifest or list file.
        line: Line, from 1; 0 if there is none.
        source: The source, ``inputs[2]``.
    """

    file: str = ""
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        """Return ``file:line (source)``."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where} ({self.source})" if self.source else where


REFUSED_KEY = "r1."
"""Start of the key of a job that cannot be requested. No request ever carries such a key."""


class Refusal(NamedTuple):
    """Reason why a job cannot be requested, found before any request.

    Attributes:
        code: ``InvalidRow``, ``InvalidObjectName``, ``InvalidOutputName`` or ``OutputTaken``.
        message: The reason in words, with the place that names the object.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job to request, before any request exists.

    Attributes:
        key: Identity, made of media, operation, output and the local service's engine alone.
        media: The input.
        operation: What to do.
        output: Where the stems go.
        level: JobLevel 0, 1 or 2; larger goes first.
        user_data: The user's own pass-through text, without our key.
        queue_id: Remote queue, or empty for the service's default.
        callback: Callback settings, if any.
        group: Name of the share that this job counts against when shares are fair; if empty, its
            source.
        origin: Place where the user asked for it.
        refusal: Reason why it cannot be requested, or None. Its key begins with ``r1.`` then.
    """

    key: JobKey
    media: MediaObject
    operation: Operation
    output: Output
    level: int = 0
    user_data: str = ""
    queue_id: str = ""
    callback: Callback | None = None
    group: str = ""
    origin: Origin = Origin()
    refusal: Refusal | None = None

    @property
    def is_refused(self) -> bool:
        """True if it cannot be requested, also where the ledger does not have the reason."""
        return self.key.startswith(REFUSED_KEY)

    @property
    def share(self) -> str:
        """Name for fair shares: the group, or else the source of the job."""
        return self.group or self.origin.source

    @property
    def wire_user_data(self) -> str:
        """``UserData`` of the request: the key, then the user's own text."""
        return f"{self.key} {self.user_data}" if self.user_data else self.key


_BETWEEN_WORDS = re.compile(r"[\s+]")
_KEY_FORM = re.compile(r"v[0-9]+\.[a-z0-9]+")


def key_of_user_data(user_data: str) -> str:
    """Return the first word of an echoed ``UserData``: our job key, if the job is ours.

    Echoes pass through many hands, so reading is lenient: surrounding white space, ``+`` for a
    space, and the case of letters do not matter.
    """
    return _BETWEEN_WORDS.split(user_data.strip(), 1)[0].lower()


def is_job_key(text: str) -> bool:
    """Return True if ``text`` has the form of a job key."""
    return _KEY_FORM.fullmatch(text) is not None


def is_key_of_another(found: str, own: JobKey) -> bool:
    """Return True if ``found`` is a whole job key, and not ``own``.

    A shortened or foreign text proves nothing about whose job it is.
    """
    return found != own and len(found) == len(own) and is_job_key(found)
