"""``orchestrator serve``: the local service on its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import whole_number
from orchestrator.cli.output import show

if TYPE_CHECKING:
    from orchestrator.commands.serve import ServeOptions, Serving


RootOption = Annotated[
    Path,
    typer.Option(
        "--root", metavar="DIR", help="Folder of the objects: DIR/BUCKET/KEY.", show_default=False
    ),
]
ListenOption = Annotated[
    str, typer.Option("--listen", metavar="HOST:PORT", help="Address to listen on.")
]
WorkersOption = Annotated[
    str,
    typer.Option(
        "--workers",
        metavar="N|ray|ray://HOST:PORT",
        help="Jobs at once, one per processor by default; or the Ray cluster that separates, "
        "'ray' for one of this machine.",
        show_default=False,
    ),
]
JobCpusOption = Annotated[
    float | None,
    typer.Option(
        "--job-cpus",
        metavar="N",
        help="Processors of one job on the cluster; 1 by default.",
        show_default=False,
    ),
]
JobGpusOption = Annotated[
    float | None,
    typer.Option(
        "--job-gpus",
        metavar="N",
        help="Graphics processors of one job on the cluster, 0.25 for example; 0 by default.",
        show_default=False,
    ),
]
JobMemoryOption = Annotated[
    str | None,
    typer.Option(
        "--job-memory",
        metavar="SIZE",
        help="Free memory that a node must have for a job; 1GiB by default.",
        show_default=False,
    ),
]
BucketOption = Annotated[
    str,
    typer.Option(
        "--bucket",
        metavar="NAME",
        help="Bucket for requests whose Host header has no bucket.",
        show_default=False,
    ),
]
RegionOption = Annotated[
    str, typer.Option("--region", metavar="NAME", help="Region of such requests.")
]
FaultsOption = Annotated[
    Path | None,
    typer.Option(
        "--faults",
        metavar="FILE",
        help="Play this script of faults from the start.",
        show_default=False,
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option(
        "--callback-retries",
        metavar="N",
        parser=whole_number("--callback-retries", 0),
        help="Further tries for a callback that fails.",
    ),
]
TimeoutOption = Annotated[
    str, typer.Option("--callback-timeout", metavar="10s", help="Bound of one try.")
]
PrivateOption = Annotated[
    bool,
    typer.Option(
        "--callback-private",
        help="Call addresses of private networks too, not only public ones and loopback.",
    ),
]
TlsOption = Annotated[
    bool,
    typer.Option("--tls", help="Serve https, with a certificate that is made once for DIR."),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="FILE", help="Serve https with this one.", show_default=False
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-key",
        metavar="FILE",
        help="Private key of that certificate, if it is not in the same file.",
        show_default=False,
    ),
]


def serve(
    *,
    root: RootOption,
    listen: ListenOption = "127.0.0.1:8080",
    workers: WorkersOption = "",
    job_cpus: JobCpusOption = None,
    job_gpus: JobGpusOption = None,
    job_memory: JobMemoryOption = None,
    bucket: BucketOption = "",
    region: RegionOption = "ap-chongqing",
    faults: FaultsOption = None,
    callback_retries: RetriesOption = 0,
    callback_timeout: TimeoutOption = "10s",
    callback_private: PrivateOption = False,
    tls: TlsOption = False,
    tls_cert: CertificateOption = None,
    tls_key: KeyOption = None,
) -> None:
    """Serve the job API and the object storage of ROOT, with real separation, until interrupted.

    The key pair comes from TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or is made once and
    kept in DIR/.service. ORCHESTRATOR_CONTROL_TOKEN, if set, opens the control plane for
    rehearsals to clients that know it.
    """
    import asyncio

    from orchestrator.cli import complain
    from orchestrator.cli.interpreter import loop_factory, tune
    from orchestrator.cli.parsers import (
        read_address,
        read_bucket,
        read_cluster,
        read_duration_s,
        read_workers,
    )
    from orchestrator.cli.signals import stop_on_signals
    from orchestrator.commands.serve import ServeOptions, serving

    host, port = read_address("--listen", listen)
    options = ServeOptions(
        root,
        host,
        port,
        read_workers(workers),
        read_bucket("--bucket", bucket),
        region,
        faults,
        callback_retries,
        read_duration_s("--callback-timeout", callback_timeout),
        callback_private,
        tls,
        tls_cert,
        tls_key,
        read_cluster(workers, job_cpus, job_gpus, job_memory),
    )

    async def main() -> None:
        stopped = asyncio.Event()
        # Before the greeting invites anyone to stop it.
        with stop_on_signals(
            lambda _: stopped.set(), lambda number: complain(f"aborted by {number.name}")
        ):
            async with serving(options) as facts:
                show(greeting(options, facts))
                await stopped.wait()

    tune()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


def greeting(options: ServeOptions, facts: Serving) -> str:
    """Return what a user needs to point a client at the service, one fact a line."""
    from orchestrator.commands.serve import CONTROL_VARIABLE

    lines = [
        f"serving {options.root} on {facts.url}",
        f"secret id:  {facts.secret_id}",
        f"secret key: {facts.secret_key}",
    ]
    if facts.authority is not None:
        lines.append(f"authority:  {facts.authority}, for clients to trust")
    if options.cluster is not None:
        lines.append(f"workers:    Ray cluster {options.cluster.address or 'of this machine'}")
    if options.bucket:
        lines.append(
            f"bucket:     {options.bucket} in {options.region}, if the Host header has no bucket"
        )
    if facts.control_url:
        lines.append(f"control:    {facts.control_url} with the token of {CONTROL_VARIABLE}")
        lines.append(f"page:       {facts.url}/ in a browser, with the same token")
    if options.faults is not None:
        work = "simulated" if facts.is_simulated else "real"
        lines.append(f"faults:     {options.faults}, {work} work")
    return "\n".join(lines) + "\n"
