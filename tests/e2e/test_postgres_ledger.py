"""The command with its ledger in PostgreSQL: from any host, under each manifest's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.playground import Playground

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.playground import RunningService
    from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow
OBJECTS = ["incoming/a.mp3", "incoming/b.mp3"]


def host(folder: Path, service: RunningService, name: str = "album") -> Playground:
    """Return a host with the manifest, in a folder of its own."""
    folder.mkdir()
    place = Playground(folder, service)
    for key in OBJECTS:
        service.store(key)
    place.write(*OBJECTS, name=name)
    return place


def test_every_verb_works_from_any_host(
    tmp_path: Path, service: RunningService, postgres: PostgresServer
) -> None:
    first, second = host(tmp_path / "a", service), host(tmp_path / "b", service)
    ledger = ["--ledger", postgres.url()]

    assert "no runs yet" in second.do("status", "album.yaml", *ledger).out
    planned = second.do("plan", "album.yaml", *ledger, "--json").json()
    assert planned["jobs"]["to_do"] == 2
    assert first.run(*ledger).code == 0
    assert len(first.rows()) == 2

    status = second.do("status", "album.yaml", *ledger, "--json").json()
    assert (status["jobs"]["succeeded"], status["holder"]) == (2, None)
    [run] = second.do("runs", "album.yaml", *ledger, "--json").json()
    assert run["jobs"]["succeeded"] == 2
    rows = second.do("report", "album.yaml", *ledger, "--format", "jsonl").out.splitlines()
    assert len(rows) == 2
    again = second.run(*ledger, "--json").json()
    assert (again["jobs"]["skipped"], again["calls"]["submits"]) == (2, 0)
    assert len(service.jobs()) == 2
    doctor = second.do("doctor", "album.yaml", *ledger)
    assert "last run album-" in doctor.out
    assert not (tmp_path / "b" / ".orchestrator").exists()


def test_manifests_share_a_database_each_under_its_name(
    tmp_path: Path, service: RunningService, postgres: PostgresServer
) -> None:
    url = postgres.url()
    for name in ("album", "nightly"):
        place = host(tmp_path / name, service, name)
        going = place.run("--ledger", url, "--json")
        assert going.code == 0, going.err
        assert going.json()["jobs"]["succeeded"] == 2
        [run] = place.do("runs", "album.yaml", "--ledger", url, "--json").json()
        assert run["run"].startswith(f"{name}-")
    other = host(tmp_path / "other", service, "other")
    shared = other.run("--ledger", f"{url}&name=album", "--json").json()
    assert shared["jobs"]["skipped"] == 2, "a name in the address counts"


def test_a_password_is_never_shown(
    tmp_path: Path, service: RunningService, postgres: PostgresServer
) -> None:
    """It comes from where libpq looks for it, and not from the address."""
    secret = "s3cret-word"
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS locked")
        admin.execute(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{secret}'")
    url = postgres.url().replace("tester@", "locked@")
    place = host(tmp_path / "a", service)
    given = place.run("--ledger", url.replace("locked@", f"locked:{secret}@"))
    assert given.code == 2
    assert "contains a password" in given.err
    assert "~/.pgpass" in given.err
    outputs = [given]
    for parameter in (f"password={secret}", f"sslpassword={secret}"):
        outputs.append(place.run("--ledger", f"{url}&{parameter}"))
        assert outputs[-1].code == 2
    with postgres.demanding_passwords():
        outputs.append(place.run("--ledger", url))
        assert (outputs[-1].code, "PGPASSWORD" in outputs[-1].err) == (4, True)
        outputs.append(place.run("--ledger", url, env={"PGPASSWORD": "wrong"}))
        assert outputs[-1].code == 4
        assert place.run("--ledger", url, env={"PGPASSWORD": secret}).code == 0
        entry = f"127.0.0.1:{postgres.port}:postgres:locked:{secret}\n"
        file = tmp_path / "pgpass"
        file.write_text(entry)
        file.chmod(0o600)
        assert place.run("--ledger", url, env={"PGPASSFILE": str(file)}).code == 0
        services = tmp_path / "pg_service.conf"
        services.write_text(
            f"[jobs]\nhost=127.0.0.1\nport={postgres.port}\nuser=locked\n"
            f"dbname=postgres\npassword={secret}\n"
        )
        schema = url.partition("?")[2]
        outputs.append(
            place.run(
                "--ledger",
                f"postgresql://?service=jobs&{schema}",
                env={"PGSERVICEFILE": str(services)},
            )
        )
        assert outputs[-1].code == 0, outputs[-1].err
    assert not [one for one in outputs if secret in one.out + one.err]


def test_a_database_that_cannot_be_used_is_exit_code_4_and_a_sentence(
    tmp_path: Path, service: RunningService
) -> None:
    place = host(tmp_path / "a", service)
    for verb in ("run", "status", "cancel"):
        done = place.do(verb, "album.yaml", "--ledger", "postgresql://x@127.0.0.1:1/x")
        assert done.code == 4, verb
        assert "cannot be reached" in done.err
        assert "no PostgreSQL server listens at 127.0.0.1 port 1 (database x)" in done.err
        assert "Is the server running" not in done.err
    assert service.jobs() == []


def test_a_local_service_of_another_host_is_refused(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host has a local service of its own, whose job ids mean nothing elsewhere."""
    from orchestrator.commands.options import ManifestSource
    from orchestrator.commands.resources import ledger_path, service_name

    folder = tmp_path / "a"
    folder.mkdir()
    manifest = ManifestSource(Playground(folder).write("a.mp3")).load()
    url = ledger_path(manifest, postgres.url())
    monkeypatch.setattr("platform.node", lambda: "first")
    here = service_name(manifest, url)
    monkeypatch.setattr("platform.node", lambda: "second")
    assert service_name(manifest, url) != here
    assert "first" in here
