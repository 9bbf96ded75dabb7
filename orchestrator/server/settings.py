"""What can be set about the local service. Every bound has its unit in its name and its reason beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from orchestrator.server.progression import Progression

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.server.faults.script import Faults

REAL_WORK = "orchestrator.server.workers.separate:separate"
"""The function that separates one file; workers load it by this name."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key pair may do with the buckets that match a glob pattern."""

    bucket: str = "*"
    read: bool = True
    write: bool = True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret id and key that the service accepts.

    Attributes:
        secret_id: Public part.
        secret_key: Secret part; never shown.
        token: Session token that must come along (temporary keys), or empty.
        expires_at: When temporary keys end, seconds since the epoch; None: never.
        grants: What they may do, the first matching bucket pattern decides; empty: everything.
    """

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires_at: float | None = None
    grants: tuple[Grant, ...] = ()

    def allows(self, bucket: str, *, write: bool) -> bool:
        """Whether these keys may read (or write) ``bucket``."""
        if not self.grants:
            return True
        for grant in self.grants:
            if fnmatchcase(bucket, grant.bucket):
                return grant.write if write else grant.read
        return False


class MissingInput(StrEnum):
    """When an input object that does not exist is noticed. The vendor does not say (its error table allows both)."""

    FAIL = "fail"
    """The job is accepted and ends ``Failed`` with ``ResourceNotFound``."""
    REFUSE = "refuse"
    """The submit is answered with 400 ``ResourceNotFound``."""
    IGNORE = "ignore"
    """Nobody looks: simulated work for manifests whose media are elsewhere."""


@dataclass(frozen=True, slots=True)
class CallbackPolicy:
    """How callbacks leave. The vendor documents neither retries nor timeouts, so both are ours to set.

    Attributes:
        retries: Further tries after a failed one; 0 (deliver once) by default.
        retry_wait_s: Pause before the first further try; it doubles each time.
        timeout_s: Bound of one delivery.
        allow_loopback: Deliver to 127.0.0.0/8 and ::1, as a rehearsal on one machine needs.
        allow_private: Deliver to other private, link-local and reserved addresses too.
        max_pending: Deliveries that may wait; more are dropped with a log line.
    """

    retries: int = 0
    retry_wait_s: float = 1.0
    timeout_s: float = 10.0
    allow_loopback: bool = True
    allow_private: bool = False
    max_pending: int = 10_000


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """All settings of one local service.

    Attributes:
        root: Folder of the objects: ``<root>/<bucket>/<key>``. The service keeps its own files in ``<root>/.service``.
        host: Address to bind.
        port: Port to bind; 0: a free one.
        credentials: Key pairs that are accepted.
        max_concurrent: Jobs worked on at once; None: one per processor.
        work: ``module:function`` that does the work in a worker process.
        progression: Real or simulated work.
        missing_input: When a missing input is noticed; None: ``fail`` for real work, ``ignore`` for simulated.
        bucket: Bucket of requests whose ``Host`` names none (``127.0.0.1:8080``); empty: such requests are refused.
        region: Region of such requests.
        control_token: Token of the control plane; empty: there is no control plane.
        callbacks: How callbacks leave.
        activation_required: Jobs need ``POST /mediabucket`` or ``POST /asrbucket`` first, as at the vendor.
        default_family: Queue family that takes jobs without a QueueId: ``asr`` (newer pages) or ``media`` (older pages).
        inline_required: A submit with neither TemplateId nor VoiceSeparate is refused; else it gets AudioAndBackground.
        cancel_paused: A job in state Pause can be cancelled.
        callback_on_cancel: A cancelled job is told to the callback address too.
        max_ids_per_query: Ids in one ``GET /jobs/<ids>`` (the vendor: 10).
        queue_max_size: Waiting jobs per queue, beyond which ``QueueSaturated`` is answered (the vendor's sample: 10000).
        max_body_bytes: Largest XML body.
        max_object_bytes: Largest object (the vendor's simple PUT: 5 GB).
        idle_timeout_s: How long a connection may stay silent before or between requests.
        read_timeout_s: How long a client may take for the next piece of a body.
        job_timeout_s: How long one job may run.
        worker_memory_bytes: Memory of one worker process; None: unbounded.
        max_starts: Times that a job may be begun before it is given up (each time the whole service died with it).
        retention_s: How long ended jobs are remembered (the vendor's console: a month).
        max_skew_s: Largest difference between the client's clock and ours (the vendor: 15 minutes).
        durable: Accepted jobs and stored objects survive a power cut (one sync for many requests).
        drain_s: How long running requests may take when the service stops.
        seed: Makes ids and the draws of faults predictable; None: random.
        faults: What is to go wrong; None: nothing.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 0
    credentials: tuple[KeyPair, ...] = ()
    max_concurrent: int | None = None
    work: str = REAL_WORK
    progression: Progression = field(default_factory=Progression)
    missing_input: MissingInput | None = None
    bucket: str = ""
    region: str = "ap-chongqing"
    control_token: str = field(default="", repr=False)
    callbacks: CallbackPolicy = CallbackPolicy()
    activation_required: bool = False
    default_family: str = "asr"
    inline_required: bool = True
    cancel_paused: bool = True
    callback_on_cancel: bool = False
    max_ids_per_query: int = 10
    queue_max_size: int = 10_000
    max_body_bytes: int = 1 << 20
    max_object_bytes: int = 5 << 30
    idle_timeout_s: float = 75
    read_timeout_s: float = 30
    job_timeout_s: float = 3600
    worker_memory_bytes: int | None = 4 << 30
    max_starts: int = 3
    retention_s: float = 30 * 86400
    max_skew_s: float = 900
    durable: bool = True
    drain_s: float = 2.0
    seed: int | None = None
    faults: Faults | None = None

    @property
    def missing_input_rule(self) -> MissingInput:
        """``missing_input``, or what fits the kind of work."""
        if self.missing_input is not None:
            return self.missing_input
        return MissingInput.IGNORE if self.progression.simulated else MissingInput.FAIL

    def with_faults(self, faults: Faults) -> LocalSettings:
        """Return the settings of a service that plays ``faults``; what the script sets wins."""
        return replace(
            self,
            faults=faults,
            seed=self.seed if faults.seed is None else faults.seed,
            progression=faults.progression or self.progression,
            max_concurrent=faults.max_concurrent or self.max_concurrent,
        )
