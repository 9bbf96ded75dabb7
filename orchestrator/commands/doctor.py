"""Check everything that can be checked before money is spent."""

from __future__ import annotations

import os
import platform
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator._version import __version__
from orchestrator.commands.examination import Examination
from orchestrator.commands.examine_engine import examine_engine
from orchestrator.commands.options import report_path
from orchestrator.commands.other_ledgers import OtherLedgers
from orchestrator.commands.preflight import check_folder, nearest_folder, output_folders
from orchestrator.commands.resources import (
    check_service,
    ledger_exists,
    ledger_path,
    open_client,
    open_patient_store,
    service_name,
    service_place,
)
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.domain.spec import Place
from orchestrator.domain.wording import counted
from orchestrator.errors import CredentialsMissing, OrchestratorError
from orchestrator.ledger import ledger_path as ledger_file
from orchestrator.ledger import open_ledger
from orchestrator.manifest import LocalServiceSettings
from orchestrator.manifest.planning.output_places import output_places
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.manifest.sources.selection import Selection
from orchestrator.postgresql import is_address, parse_address
from orchestrator.reporting.page.writer import check_page_path, page_path

if TYPE_CHECKING:
    from orchestrator.client.service import CloudService
    from orchestrator.commands.options import ManifestSource, RunOptions
    from orchestrator.domain.ports import Clock
    from orchestrator.manifest import Manifest

_PACKAGES = ("aiohttp", "av", "numpy", "openvino", "onnxruntime")
"""Packages whose version decides what works."""
_PLACES = 5
"""Buckets that are asked about."""
_OBJECTS = 100
"""Objects that are looked for in other ledgers."""
_SOURCES = 1000
"""Sources whose buckets are looked at."""
_SKEW_NOTED_S = 60.0
_SKEW_REFUSED_S = 900.0
"""The vendor refuses a signature that is 15 minutes off."""


async def examine(
    source: ManifestSource | None,
    options: RunOptions,
    clock: Clock | None = None,
    *,
    model: Path | None = None,
) -> Examination:
    """Check this machine, and a manifest with its ledger, folders and service.

    Nothing is sent that costs money, and nothing is written.

    Args:
        source: The manifest; None for this machine alone.
        options: Ledger and report.
        clock: Time.
        model: A model file; with it and no manifest, only this file is checked.
    """
    found, clock = Examination(), clock or SystemClock()
    _machine(found)
    if model is not None:
        examine_engine(found, EngineChoice(model))
        if source is None:
            return found
    manifest: Manifest | None = None
    if source is not None:
        with found.checking("manifest"):
            manifest = source.load()
            found.add("manifest", f"{source.path}: no faults")
    _zones(found, manifest)
    if source is None or (manifest is not None and manifest.is_local):
        service = manifest.service if manifest is not None else None
        named = service.engine if isinstance(service, LocalServiceSettings) else DEFAULT_ENGINE
        if not _is_same(named.model, model):  # else it was examined above
            examine_engine(found, named)
    if source is None:
        _credentials(found, "note")
    if manifest is not None:
        location = ledger_path(manifest, options.ledger)
        _outputs(found, manifest, location)
        is_readable = await _ledger(found, manifest, location)
        _report(found, manifest, options)
        if not manifest.is_local and _credentials(found, "fail", manifest.profile):
            await _service(found, manifest, clock)
        if is_readable:
            await _other_ledgers(found, manifest, location)
    return found


def _is_same(one: Path | None, other: Path | None) -> bool:
    return one is not None and other is not None and one.absolute() == other.absolute()


def _machine(found: Examination) -> None:
    found.add("python", f"{platform.python_version()} on {platform.system()}")
    versions = [f"orchestrator {__version__}"]
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    found.add("packages", ", ".join(versions))


def _zones(found: Examination, manifest: Manifest | None) -> None:
    """Check that time zones are known; a zone of the manifest was checked when it was read."""
    zone = manifest.timezone if manifest is not None else "Asia/Shanghai"
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError):
        found.add("time zones", f"{zone} is not known. Run: pip install tzdata", "fail")
    else:
        found.add("time zones", f"{zone} is known")


def _outputs(found: Examination, manifest: Manifest, location: str) -> None:
    """Check the folders that receive stems."""
    for folder in output_folders(manifest, location):
        with found.checking("disk"):
            free = check_folder(folder) / 1e9
            found.add("disk", f"{free:,.1f} GB free for stems at {folder}")


async def _ledger(found: Examination, manifest: Manifest, location: str) -> bool:
    """Check the ledger; return True if it can be read, or will be made."""
    if is_address(location):
        with found.checking("ledger"):
            parse_address(location)
            await _open(found, manifest, location, location)
            return True
        return False
    path = ledger_file(location)
    there = path if path.exists() else nearest_folder(path.parent)
    if not os.access(there, os.W_OK) or (there != path and not there.is_dir()):
        text = f"{path}: nothing can be written in {there}. Name another with --ledger FILE."
        found.add("ledger", text, "fail")
        return False
    if not path.exists():
        found.add("ledger", f"{path}: will be made by the first run")
        return True
    with found.checking("ledger"):
        await _open(found, manifest, location, str(path))
        return True
    return False


async def _open(found: Examination, manifest: Manifest, location: str, shown: str) -> None:
    """Look into a ledger."""
    ledger = open_ledger(location, read_only=True)
    try:
        name, place = service_name(manifest, location), service_place(manifest, location)
        await check_service(ledger, location, name, place)
        holder, run = await ledger.holder(), await ledger.last_run()
    finally:
        await ledger.close()
    if holder is not None:
        text = f"{shown}: process {holder.pid} on {holder.host} works on it. Wait, or stop it."
        found.add("ledger", text, "fail")
    else:
        found.add("ledger", f"{shown}: {f'last run {run.id}' if run else 'no runs yet'}")


async def _other_ledgers(found: Examination, manifest: Manifest, location: str) -> None:
    """Note other ledgers that know the first jobs; sources are read only if there are any."""
    own = None
    try:
        if ledger_exists(location):
            own = open_ledger(location, read_only=True)
        others = OtherLedgers(manifest, location, own)
        if not others.paths or manifest.is_read_once:
            return
        async with AsyncExitStack() as stack:
            store = None
            if manifest.needs_listing:
                store = await stack.enter_async_context(open_patient_store(manifest, location))
            feed = Feed(manifest, store, Selection(limit=_OBJECTS))
            async for specs in feed.specs():
                await others.look(specs)
        for remark in others.remarks():
            found.add("other ledgers", remark, "note")
    except OrchestratorError as error:
        if not found.says(error):
            found.add("other ledgers", f"not looked at: {error}", "note")
    finally:
        if own is not None:
            await own.close()


def _report(found: Examination, manifest: Manifest, options: RunOptions) -> None:
    with found.checking("report"):
        path = Path(report_path(manifest, options))
        there = nearest_folder(path.parent)
        if there.is_dir() and os.access(there, os.W_OK):
            if manifest.writes_page:
                check_page_path(page_path(path))
            found.add("report", str(path))
        else:
            text = f"{path}: nothing can be written in {there}. Name another with --report FILE."
            found.add("report", text, "fail")


def _credentials(found: Examination, if_missing: str, profile: str | None = None) -> bool:
    """Check that there is a key pair; say where, and never its value."""
    from orchestrator.client.credentials import Discovered

    try:
        credentials, place = Discovered(profile=profile).located()
    except CredentialsMissing as error:
        found.add("credentials", str(error), if_missing)
        return False
    kind = "a temporary key" if credentials.token else "a key"
    found.add("credentials", f"{kind} from {place}")
    return True


async def _service(found: Examination, manifest: Manifest, clock: Clock) -> None:
    """Check that the service answers, that the clocks agree, and that the buckets are there."""
    places = _bucket_places(manifest)
    if not places:
        found.add("buckets", "only a list names them; not checked", "note")
    with found.checking("service"):
        async with open_client(manifest, clock) as client:
            for number, place in enumerate(places):
                with found.checking(f"bucket {place.bucket}"):
                    await _bucket(found, client, place, clock, says_time=number == 0)
            if places:
                with found.checking("jobs API"):
                    queues = await client.queues(places[0])
                    known = f"{counted(len(queues), 'queue')} of {places[0].bucket}"
                    status = "ok" if queues else "note"
                    found.add("jobs API", f"answers; {known}", status)


async def _bucket(
    found: Examination, client: CloudService, place: Place, clock: Clock, *, says_time: bool
) -> None:
    before = clock.now()
    facts = await client.head_bucket(place)
    name = f"bucket {place.bucket}"
    if not facts.request_id:
        text = "something else than the storage answered. Check proxies, and the service's address."
        found.add(name, text, "fail")
        return
    found.add(name, f"is there, in {place.region}")
    if not says_time or facts.server_time is None:
        return
    skew = (before + clock.now()) / 2 - facts.server_time
    text = f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the service's"
    if abs(skew) >= _SKEW_REFUSED_S:
        found.add("clock", f"{text}. Set the clock of this machine.", "fail")
    else:
        found.add("clock", text, "note" if abs(skew) >= _SKEW_NOTED_S else "ok")


def _bucket_places(manifest: Manifest) -> list[Place]:
    """Return the first buckets of inputs and outputs, with their regions."""
    found: dict[Place, None] = {}
    for settings in manifest.inputs[:_SOURCES]:
        bucket = settings.bucket or manifest.bucket
        region = settings.region or manifest.region
        if bucket and region and "{" not in bucket + region:
            found[Place(bucket, region)] = None
    regions = {place.bucket: place.region for place in found}
    for output in output_places(manifest):
        region = regions.get(output.bucket, manifest.region)
        if region:
            found[Place(output.bucket, region)] = None
    return list(found)[:_PLACES]
