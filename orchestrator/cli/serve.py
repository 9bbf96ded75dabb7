"""``orchestrator serve``: the local service on its own."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.output import show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.server.http.key_pairs import KeyPair
    from orchestrator.server.settings import CallbackPolicy, LocalSettings

CONTROL_VARIABLE = "ORCHESTRATOR_CONTROL_TOKEN"
"""Token of the control plane. A variable and no option: everybody on the machine can read command lines."""


def serve(
    *,
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Folder of the objects: DIR/BUCKET/KEY.",
            show_default=False,
        ),
    ],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Address to listen on.")
    ] = "127.0.0.1:8080",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Jobs at once; one per processor if not given.",
            show_default=False,
        ),
    ] = None,
    bucket: Annotated[
        str,
        typer.Option(
            "--bucket",
            metavar="NAME",
            help="Bucket of requests whose Host names none.",
            show_default=False,
        ),
    ] = "",
    region: Annotated[
        str, typer.Option("--region", metavar="NAME", help="Region of such requests.")
    ] = "ap-chongqing",
    faults: Annotated[
        Path | None,
        typer.Option(
            "--faults",
            metavar="FILE",
            help="Play this script of faults from the start.",
            show_default=False,
        ),
    ] = None,
    callback_retries: Annotated[
        int,
        typer.Option(
            "--callback-retries",
            metavar="N",
            min=0,
            help="Further tries for a callback that fails.",
        ),
    ] = 0,
    callback_timeout: Annotated[
        str, typer.Option("--callback-timeout", metavar="10s", help="Bound of one try.")
    ] = "10s",
    callback_private: Annotated[
        bool,
        typer.Option(
            "--callback-private",
            help="Call private and link-local addresses too, not only public ones and loopback.",
        ),
    ] = False,
) -> None:
    """Serve the job API and the object storage of ROOT, separating for real, until interrupted.

    The key pair comes from TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or is made once and kept in DIR/.service.
    ORCHESTRATOR_CONTROL_TOKEN, if set, opens the control plane for rehearsals to whoever knows it.
    """
    import asyncio
    import os

    from orchestrator.cli.parsers import read_address, read_bucket
    from orchestrator.cli.signals import stop_on_signals
    from orchestrator.domain.clock import SystemClock
    from orchestrator.server.credentials import keys_for
    from orchestrator.server.faults.script import Faults
    from orchestrator.server.service import LocalService
    from orchestrator.server.settings import LocalSettings

    host, port = read_address("--listen", listen)
    script = Faults.load(faults) if faults is not None else None
    keys = keys_for(root, os.environ)
    settings = LocalSettings(
        root=root.resolve(),
        host=host,
        port=port,
        credentials=(keys,),
        max_concurrent=workers,
        bucket=read_bucket("--bucket", bucket),
        region=region,
        control_token=os.environ.get(CONTROL_VARIABLE, ""),
        callbacks=_policy(callback_retries, callback_timeout, allow_private=callback_private),
    )
    if script is not None:
        settings = settings.with_faults(script)

    async def main() -> None:
        over = asyncio.Event()
        with stop_on_signals(
            lambda _: over.set()
        ):  # before anybody can read that it runs, and stop it
            async with LocalService(settings, SystemClock()) as service:
                show(greeting(root, service.url, keys, settings, os.environ, faults))
                await over.wait()

    asyncio.run(main())


def _policy(retries: int, timeout: str, *, allow_private: bool) -> CallbackPolicy:
    from orchestrator.cli.parsers import read_duration_s
    from orchestrator.server.settings import CallbackPolicy

    bound_s = read_duration_s("--callback-timeout", timeout)
    return CallbackPolicy(
        retries=retries,
        timeout_s=bound_s or CallbackPolicy().timeout_s,
        allow_private=allow_private,
    )


def greeting(
    root: Path,
    url: str,
    keys: KeyPair,
    settings: LocalSettings,
    environment: Mapping[str, str],
    faults: Path | None,
) -> str:
    """What a user needs to point a client at the service, one fact a line.

    A secret key that came from the environment is not repeated: whoever started the service has it, and output ends up in logs.
    """
    from orchestrator.server.api.control import PREFIX
    from orchestrator.server.credentials import KEY_VARIABLE

    given = bool(environment.get(KEY_VARIABLE))
    lines = [
        f"serving {root} on {url}",
        f"secret id:  {keys.secret_id}",
        f"secret key: {f'as in {KEY_VARIABLE}' if given else keys.secret_key}",
    ]
    if settings.bucket:
        lines.append(f"bucket:     {settings.bucket} in {settings.region}, where Host names none")
    if settings.control_token:
        lines.append(f"control:    {url}{PREFIX} with the token of {CONTROL_VARIABLE}")
    if faults is not None:
        work = "simulated" if settings.progression.simulated else "real"
        lines.append(f"faults:     {faults}, {work} work")
    return "\n".join(lines) + "\n"
