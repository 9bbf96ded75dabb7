"""Checks of this machine before the first job: what would fail every job is found at once."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from orchestrator.commands.resources import local_root
from orchestrator.errors import ConfigError, DiskFull
from orchestrator.manifest import LocalServiceSettings
from orchestrator.manifest.planning.output_places import output_places
from orchestrator.reporting.page.writer import check_page_path, page_path
from orchestrator.reporting.report_file import check_path
from orchestrator.separation.install.installed import check_ready
from orchestrator.server.settings import SPACE_BYTES

if TYPE_CHECKING:
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


def prepare_report(path: Path, *, has_page: bool) -> None:
    """Check that a run can write its report, and make its folder.

    A run that began and cannot write it would have to be continued with another report.

    Args:
        path: The report; a part ``{run}`` is not known yet.
        has_page: A page is written beside it.

    Raises:
        ReportError: If something else is there, or nothing can be written.
    """
    if RUN_FIELD not in str(path.parent):
        check_path(path)  # a name with {run} in it exists only by intent
        if has_page:
            check_page_path(page_path(path))


def prepare_outputs(manifest: Manifest, ledger: str) -> None:
    """Check every folder that receives stems, and make those that the manifest names.

    A bucket of the root is not made: there, a name without a folder is a typing error.

    Raises:
        ConfigError: If nothing can be written to one.
        DiskFull: If one has no space for stems.
    """
    named = set(manifest.buckets.values())
    for folder in output_folders(manifest, ledger):
        check_folder(folder)
        if folder in named:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"The folder {folder} cannot be made: {error.strerror or error}."
                ) from error
