"""Checks of this machine before the first job: what would fail every job is found at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.commands.resources import local_root
from orchestrator.domain.listening import cannot_listen
from orchestrator.durable import broken_link, reason_of
from orchestrator.errors import ConfigError, DiskFull, OrchestratorError
from orchestrator.manifest import LocalServiceSettings
from orchestrator.manifest.planning.output_places import output_places
from orchestrator.separation.install.installed import check_ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.manifest import Manifest

RUN_FIELD = "{run}"
"""Part of the path of a report that becomes the id of the run."""


def output_folders(manifest: Manifest, ledger: str) -> list[Path]:
    """Return the folders of this machine that receive stems; none for a remote service."""
    if not manifest.is_local:
        return []
    root = local_root(manifest, ledger)
    buckets = dict.fromkeys(place.bucket for place in output_places(manifest))
    return [manifest.buckets.get(bucket) or root / bucket for bucket in buckets]


def nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


def check_folder(folder: Path) -> int:
    """Return the free bytes at a folder that receives files; it need not exist.

    Raises:
        ConfigError: If nothing can be written there.
        DiskFull: If there is no space for stems.
    """
    from orchestrator.server.settings import SPACE_BYTES

    if link := broken_link(folder):
        raise ConfigError(f"Stems cannot be written to {folder}: {link}. Correct the link.")
    there = nearest_folder(folder)
    if not there.is_dir():
        raise ConfigError(f"{there} is a file, so no stems can be written to {folder}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"Stems cannot be written to {folder}: no permission to write in {there}. Name another "
            "folder with service: {local: {buckets: {BUCKET: DIR}}}, or -o DIR of separate."
        )
    free = shutil.disk_usage(there).free
    if free < SPACE_BYTES:
        raise DiskFull(
            f"The disk of {there} has no space for stems (less than {SPACE_BYTES >> 20} MB is "
            "free). Make room, then run again."
        )
    return free


def check_means(manifest: Manifest) -> None:
    """Check that this machine can do the work, or may ask the service, before anything is made.

    Raises:
        EngineMissing: If the service is this machine, and it cannot separate.
        CredentialsMissing: If it is another one, and there is no key pair.
    """
    if isinstance(manifest.service, LocalServiceSettings):
        check_ready(manifest.service.engine)
        return
    from orchestrator.client.credentials import Discovered

    Discovered(profile=manifest.profile).load()


def refusals(manifest: Manifest, ledger: str) -> list[str]:
    """Return what this machine lacks for a run of the manifest, a sentence each.

    A plan may be made without it, for example to learn the cost before there is a key pair.
    """
    found = []
    for check in (partial(check_means, manifest), partial(check_outputs, manifest, ledger)):
        try:
            check()
        except OrchestratorError as error:
            found.append(f"A run would be refused now. {error}")
    return found


async def check_address(option: str, host: str, port: int) -> None:
    """Check that an address can be listened on, before anything is made.

    Raises:
        ConfigError: If it cannot; ``option`` names it.
    """
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        raise cannot_listen(option, host, port, error) from error
    server.close()
    await server.wait_closed()


@contextlib.contextmanager
def prepared_report(path: Path, *, has_page: bool) -> Iterator[None]:
    """Check that a run can write its report, and make its folder.

    A run that began and cannot write it would have to be continued with another report. A folder
    that is still empty at the end goes again: the run was refused.

    Args:
        path: The report; a part ``{run}`` is not known yet.
        has_page: A page is written beside it.

    Raises:
        ReportError: If something else is there, or nothing can be written.
    """
    from orchestrator.reporting.page.writer import check_page_path, page_path
    from orchestrator.reporting.report_file import check_path

    if RUN_FIELD in str(path.parent):  # it exists only by intent
        yield
        return
    made = [each for each in path.parents if not each.exists()]
    try:
        check_path(path)
        if has_page:
            check_page_path(page_path(path))
        yield
    finally:
        with contextlib.suppress(OSError):  # the first one that has a file
            for each in made:
                each.rmdir()


def check_outputs(manifest: Manifest, ledger: str) -> None:
    """Check every folder that receives stems.

    Raises:
        ConfigError: If nothing can be written to one.
        DiskFull: If one has no space for stems.
    """
    for folder in output_folders(manifest, ledger):
        check_folder(folder)
    if manifest.is_local:
        check_folder(local_root(manifest, ledger))


def make_outputs(manifest: Manifest, ledger: str) -> None:
    """Make the folders that receive stems and that the manifest names.

    A bucket of the root is not made: there, a name without a folder is a typing error.

    Raises:
        ConfigError: If one cannot be made.
    """
    named = set(manifest.buckets.values())
    for folder in output_folders(manifest, ledger):
        if folder in named:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"The folder {folder} cannot be made: {reason_of(error)}."
                ) from error
