"""Settings of the local service. Every limit has its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.separation.cores import usable_cores
from orchestrator.server.pace import Progression

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.server.certificates import TlsFiles
    from orchestrator.server.faults.script import Faults
    from orchestrator.server.http.key_pairs import KeyPair

SPACE_BYTES = 16 << 20
"""Free space to start with: the two stems of an ordinary song have 10 MB."""
REAL_WORK = "orchestrator.server.workers.separate:separate"
"""The function that separates one file; workers import it by this name."""


class MissingInput(StrEnum):
    """Handling of a missing input object.

    The vendor does not document it: its error table allows a refusal at submit and a failure later.
    """

    FAIL = "fail"
    """The job is accepted and ends ``Failed`` with ``ResourceNotFound``."""
    REFUSE = "refuse"
    """The submit is answered with 400 ``ResourceNotFound``."""
    IGNORE = "ignore"
    """The input is not checked: simulated work for manifests whose media are elsewhere."""


class MissingBucket(StrEnum):
    """Handling of a job whose input or output bucket does not exist."""

    REFUSE = "refuse"
    """The submit is answered with ``NoSuchBucket``."""
    MAKE = "make"
    """The output bucket is made: simulated work for manifests whose buckets are elsewhere."""


@dataclass(frozen=True, slots=True)
class CallbackPolicy:
    """Delivery of callbacks. The vendor documents neither retries nor timeouts.

    Attributes:
        retries: Further attempts after a failed one; 0 (deliver once) by default.
        retry_wait_s: Wait before the first retry; it doubles each time.
        timeout_s: Limit of one delivery.
        allow_loopback: Deliver to 127.0.0.0/8 and ::1, as a rehearsal on one machine needs.
        allow_private: Deliver to other private, link-local and reserved addresses too.
    """

    retries: int = 0
    retry_wait_s: float = 1.0
    timeout_s: float = 10.0
    allow_loopback: bool = True
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Separation on a Ray cluster.

    Attributes:
        address: ``ray://HOST:PORT`` of a cluster; empty: one of this machine, which is started and
            stopped with the service.
        cpus: Processors of one job.
        gpus: Graphics processors of one job; parts of one are possible.
        memory_bytes: Memory of one job; no job goes to a node with less free memory.
        silence_s: Time without a sign of life after which a worker counts as lost.
    """

    address: str = ""
    cpus: float = 1
    gpus: float = 0
    memory_bytes: int = 1 << 30
    silence_s: float = 15.0


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """All settings of one local service.

    Attributes:
        root: Folder of the objects: ``<root>/<bucket>/<key>``. The service keeps its own files in
            ``<root>/.service``.
        buckets: Folders of buckets that are not in the root, by name.
        host: Address to bind.
        port: Port to bind; 0: a free one.
        credentials: Accepted key pairs.
        max_concurrent: Jobs that run at once; None: one per usable core.
        ray: Ray cluster that does the work; None: worker processes of this machine.
        engine: The engine that separates.
        work: ``module:function`` that does the work in a worker process.
        progression: Real or simulated work.
        missing_input: Handling of a missing input; None: ``fail`` for real work, ``ignore`` for
            simulated work.
        missing_bucket: Handling of a missing bucket of a job.
        bucket: Bucket of requests whose ``Host`` names none (``127.0.0.1:8080``); empty: such
            requests are refused. It is made if it does not exist.
        region: Region of such requests.
        tls: Certificate to serve https with; None: http.
        control_token: Token of the control plane; empty: no control plane.
        callbacks: Delivery of callbacks.
        activation_required: Jobs need ``POST /mediabucket`` or ``POST /asrbucket`` first, as at
            the vendor.
        queue_max_size: Waiting jobs per queue; more are refused with ``QueueSaturated``
            (the vendor's sample: 10000).
        max_body_bytes: Largest XML body.
        max_object_bytes: Largest object (the vendor's simple PUT: 5 GB).
        idle_timeout_s: Limit of a connection's silence before and between requests.
        read_timeout_s: Limit of the wait for the next piece of a body.
        job_timeout_s: Limit of one job's work.
        worker_memory_bytes: Memory of one worker process; None: unlimited.
        max_starts: Starts of a job before it is given up (the service died during each one).
        durable: Accepted jobs and stored objects survive a power cut (one sync for many requests).
        drain_s: Time for running requests to finish when the service stops.
        seed: Makes ids and the draws of faults predictable; None: random.
        faults: Script of faults; None: no faults.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 0
    credentials: tuple[KeyPair, ...] = ()
    max_concurrent: int | None = None
    ray: RaySettings | None = None
    engine: EngineChoice = DEFAULT_ENGINE
    work: str = REAL_WORK
    progression: Progression = field(default_factory=Progression)
    missing_input: MissingInput | None = None
    missing_bucket: MissingBucket = MissingBucket.REFUSE
    bucket: str = ""
    region: str = "ap-chongqing"
    tls: TlsFiles | None = None
    control_token: str = field(default="", repr=False)
    callbacks: CallbackPolicy = CallbackPolicy()
    activation_required: bool = False
    queue_max_size: int = 10_000
    max_body_bytes: int = 1 << 20
    max_object_bytes: int = 5 << 30
    idle_timeout_s: float = 75
    read_timeout_s: float = 30
    job_timeout_s: float = 3600
    worker_memory_bytes: int | None = 4 << 30
    max_starts: int = 3
    durable: bool = True
    drain_s: float = 2.0
    seed: int | None = None
    faults: Faults | None = None
    buckets: Mapping[str, Path] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        """Number of jobs that run at once."""
        return self.max_concurrent or usable_cores()

    @property
    def missing_input_rule(self) -> MissingInput:
        """The set ``missing_input``, or the default for the kind of work."""
        if self.missing_input is not None:
            return self.missing_input
        return MissingInput.IGNORE if self.progression.simulated else MissingInput.FAIL

    def with_faults(self, faults: Faults) -> LocalSettings:
        """Return the settings of a service that plays ``faults``; the script's values win."""
        return replace(
            self,
            faults=faults,
            seed=self.seed if faults.seed is None else faults.seed,
            progression=faults.progression or self.progression,
            max_concurrent=faults.max_concurrent or self.max_concurrent,
        )
