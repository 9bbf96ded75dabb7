"""Serve the local service on its own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConfigError
from orchestrator.server.api.control import PREFIX
from orchestrator.server.certificates import given, made_for
from orchestrator.server.credentials import KEY_VARIABLE, keys_for
from orchestrator.server.faults.script import Faults
from orchestrator.server.service import LocalService
from orchestrator.server.settings import CallbackPolicy, LocalSettings, RaySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from orchestrator.server.certificates import TlsFiles

CONTROL_VARIABLE = "ORCHESTRATOR_CONTROL_TOKEN"
"""Token of the control plane. A variable, because all users of a machine see command lines."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Separation on a Ray cluster.

    Attributes:
        address: ``ray://HOST:PORT``; empty for a cluster of this machine.
        cpus: Processors of one job.
        gpus: Graphics processors of one job.
        memory_bytes: Memory of one job.
    """

    address: str = ""
    cpus: float = 1
    gpus: float = 0
    memory_bytes: int = RaySettings().memory_bytes


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Choices for the local service.

    Attributes:
        root: Folder of the objects.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        workers: Jobs at once; None for one per processor, or as many as the cluster has room for.
        cluster: Ray cluster that does the work; None for processes of this machine.
        bucket: Bucket for requests whose ``Host`` has no bucket.
        region: Region of such requests.
        faults: Script of faults to play from the start, or None.
        callback_retries: Further tries for a callback that fails.
        callback_timeout_s: Bound of one try; None for the default.
        callback_private: Call private and link-local addresses too.
        tls: Serve https.
        tls_cert: Certificate to serve it with; None for one that is made.
        tls_key: Private key of the certificate, if it is in a file of its own.
    """

    root: Path
    host: str
    port: int
    workers: int | None = None
    bucket: str = ""
    region: str = "ap-chongqing"
    faults: Path | None = None
    callback_retries: int = 0
    callback_timeout_s: float | None = None
    callback_private: bool = False
    tls: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    cluster: ClusterOptions | None = None

    def certificate(self) -> TlsFiles | None:
        """Return the certificate to serve with, or None for http.

        Raises:
            ConfigError: If a key was given without a certificate, or none can be made.
        """
        if self.tls_cert is not None:
            return given(self.tls_cert, self.tls_key)
        if self.tls_key is not None:
            message = "--tls-key needs --tls-cert, the certificate of that key."
            raise ConfigError(message)
        return made_for(self.root, self.host, self.region) if self.tls else None


@dataclass(frozen=True, slots=True)
class Serving:
    """Facts of a running service.

    Attributes:
        url: Its address.
        secret_id: Secret id that it accepts.
        secret_key: Secret key, or a note that it came from the environment: its owner has it, and
            output ends up in logs.
        control_url: Address of the control plane, or empty.
        authority: File of the authority that clients must trust, or None.
        is_simulated: Work is simulated by the script of faults.
    """

    url: str
    secret_id: str
    secret_key: str
    control_url: str
    authority: Path | None
    is_simulated: bool


def _ray(cluster: ClusterOptions | None) -> RaySettings | None:
    if cluster is None:
        return None
    return RaySettings(cluster.address, cluster.cpus, cluster.gpus, cluster.memory_bytes)


@contextlib.asynccontextmanager
async def serving(
    options: ServeOptions, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Serving]:
    """Run the local service while this is open.

    The key pair comes from the environment, or is made once and kept in ``<root>/.service``.

    Raises:
        OrchestratorError: If the script is faulty, or the root or the address cannot be used.
    """
    script = Faults.load(options.faults) if options.faults is not None else None
    keys = keys_for(options.root, environment)
    tls = options.certificate()
    settings = LocalSettings(
        root=options.root.resolve(),
        host=options.host,
        port=options.port,
        credentials=(keys,),
        max_concurrent=options.workers,
        bucket=options.bucket,
        region=options.region,
        tls=tls,
        ray=_ray(options.cluster),
        control_token=environment.get(CONTROL_VARIABLE, ""),
        callbacks=CallbackPolicy(
            retries=options.callback_retries,
            timeout_s=options.callback_timeout_s or CallbackPolicy().timeout_s,
            allow_private=options.callback_private,
        ),
    )
    if script is not None:
        settings = settings.with_faults(script)
    async with LocalService(settings, SystemClock()) as service:
        is_given = bool(environment.get(KEY_VARIABLE))
        yield Serving(
            service.url,
            keys.secret_id,
            f"as in {KEY_VARIABLE}" if is_given else keys.secret_key,
            f"{service.url}{PREFIX}" if settings.control_token else "",
            tls.authority if tls is not None else None,
            settings.progression.simulated,
        )
