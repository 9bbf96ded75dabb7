"""The examples of docs/schedulers.md work as they stand there, but for names and places."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
import yaml

from orchestrator.commands.exit_codes import ExitCode
from tests.documents import blocks, files, page, tables
from tests.e2e.playground import KEYS, Playground

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.e2e.playground import RunningService

pytestmark = pytest.mark.slow
PAGE = page("schedulers.md")
CRONTABS = blocks(PAGE, "crontab")
UNITS = files(PAGE, "ini")
INSTALLED = Path(sys.executable).with_name("orchestrator")
COMMAND = "/usr/local/bin/orchestrator"
MANIFEST = "/srv/media/nightly.yaml"
VENVS = os.environ.get("ORCH_TEST_SCHEDULERS", "")
WAIT_S = 300.0
"""Bound of one start of a scheduler on a busy machine."""

# What a scheduler does with an exit code.
AGAIN = {ExitCode.UNFINISHED}
FINE = {ExitCode.OK, ExitCode.LOCKED, ExitCode.INTERRUPTED}
USELESS = set(ExitCode) - AGAIN - FINE


def program(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_page_says_what_to_do_with_every_exit_code() -> None:
    rows = tables(PAGE)[0]
    said = {int(code) for row in rows for code in row[0].split(",")}

    assert said == {int(code) for code in ExitCode}


# --- cron


class Cron:
    """A crontab of the page, whose user has an empty home but for the key pair.

    Args:
        here: The folder with the manifest.
        crontab: Its text.
    """

    def __init__(self, here: Playground, crontab: str) -> None:
        home = here.folder / "home"
        self.bin = home / ".local" / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "orchestrator").symlink_to(INSTALLED)
        program(self.bin / "curl", f'echo "$@" >> {home}/pings')
        self.pings = home / "pings"
        key_pair = home / ".tencentcloud" / "credentials"
        key_pair.parent.mkdir()
        key_pair.write_text(
            next(block for block in blocks(PAGE, "ini") if "[default]" in block)
            .replace("AKID...", KEYS.secret_id)
            .replace("secret_key = ...", f"secret_key = {KEYS.secret_key}")
        )
        lines = [line for line in crontab.splitlines() if not line.startswith("#")]
        self.set = dict(line.split("=", 1) for line in lines[:-1])
        self.schedule, self.command = lines[-1].split("  ", 1)
        self.command = self.command.replace(MANIFEST, str(here.path))
        self.home = home

    def run(self, before: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command as cron does: with a shell, and these few variables."""
        path = self.set["PATH"].replace("/home/me/.local/bin", str(self.bin))
        return subprocess.run(
            ["/bin/sh", "-c", f"{before}{self.command}"],
            cwd=self.home,
            env={"HOME": str(self.home), "LOGNAME": "me", "SHELL": "/bin/sh", "PATH": path},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )


@pytest.mark.parametrize("crontab", CRONTABS)
def test_a_line_for_cron_is_silent_if_all_is_well_and_else_prints_a_mail(
    here: Playground, service: RunningService, crontab: str
) -> None:
    here.write("in/a.mp3")
    cron = Cron(here, crontab)

    assert len(cron.schedule.split()) == 5
    assert "%" not in cron.command, "cron takes it for the end of the line"
    good = cron.run()
    assert (good.stdout, good.stderr) == ("", "")
    assert here.rows()[0]["state"] == "succeeded"

    service.spoil({"route": "submit", "do": "refuse", "code": "InvalidArgument"})
    here.write("in/a.mp3", "in/b.mp3")
    bad = cron.run()
    assert "in/b.mp3" in bad.stdout + bad.stderr
    if "curl" in crontab:
        codes = [line.rpartition("/")[2] for line in cron.pings.read_text().splitlines()]
        assert codes == ["0", "1"]
    else:
        assert (good.returncode, bad.returncode) == (0, 1)


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock of util-linux")
def test_with_flock_a_second_run_ends_silently(here: Playground, tmp_path: Path) -> None:
    here.write("in/a.mp3")
    cron = Cron(here, CRONTABS[0])
    lock = tmp_path / "nightly.lock"
    assert "flock -n" in PAGE

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = cron.run(before=f"flock -n {lock} ")

    assert (done.stdout, done.stderr) == ("", "")
    assert not here.reports()


# --- systemd


def settings(unit: str, key: str) -> set[int]:
    """Return the exit codes of a setting of a unit."""
    (line,) = (line for line in UNITS[unit].splitlines() if line.startswith(f"{key}="))
    return {int(code) for code in line.partition("=")[2].split()}


def test_the_service_treats_each_exit_code_as_the_page_says() -> None:
    unit = "/etc/systemd/system/nightly-stems.service"

    assert settings(unit, "SuccessExitStatus") | {0} == FINE
    assert settings(unit, "RestartForceExitStatus") == AGAIN


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("of", ["system", "user"])
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path, of: str) -> None:
    for name, text in UNITS.items():
        ours = text.replace(COMMAND, str(INSTALLED))
        if of == "user":
            without = ("User=", "CacheDirectory=", "StateDirectory=", "Environment=")
            ours = "\n".join(line for line in ours.splitlines() if not line.startswith(without))
        (tmp_path / Path(name).name).write_text(
            ours.replace("User=media", f"User={pwd.getpwuid(os.getuid()).pw_name}")
        )
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)

    done = subprocess.run(
        ["systemd-analyze", f"--{of}", "verify", *sorted(tmp_path.glob("nightly-stems.*"))],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- Kubernetes


def test_the_cron_job_treats_each_exit_code_as_the_page_says() -> None:
    spec = yaml.safe_load(files(PAGE, "yaml")["nightly-stems.yaml"])["spec"]
    job = spec["jobTemplate"]["spec"]
    container = job["template"]["spec"]["containers"][0]

    useless = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"][1:]]
    assert useless == [sorted(USELESS)]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    mounted = container["volumeMounts"][0]["mountPath"]
    assert container["args"] == ["run", f"{mounted}/nightly.yaml", "--quiet"]


# --- with the schedulers themselves

needs_schedulers = pytest.mark.skipif(
    not VENVS, reason="installs schedulers: set ORCH_TEST_SCHEDULERS to a folder for them"
)


def installed(package: str) -> Path:
    """Return the programs of a package in an environment of its own, installed if need be."""
    folder = Path(VENVS).resolve() / package
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, package], check=True)
        (folder / "installed").touch()
    return folder / "bin"


@needs_schedulers
@pytest.mark.schedulers
@pytest.mark.parametrize("version", ["1.29", "latest"])
def test_the_cron_job_is_valid(tmp_path: Path, version: str) -> None:
    validate = installed("kubernetes-validate") / "kubernetes-validate"
    path = tmp_path / "nightly-stems.yaml"
    path.write_text(files(PAGE, "yaml")[path.name])
    chosen = [] if version == "latest" else ["-k", version]

    subprocess.run([validate, "--strict", *chosen, path], check=True)


class StandIn:
    """A program in place of the command that ends with given exit codes, one after the other."""

    def __init__(self, folder: Path, codes: Iterable[int]) -> None:
        self._calls = folder / "calls"
        cases = "".join(f"{n}) exit {code};; " for n, code in enumerate(codes, start=1))
        self.path = program(
            folder / "orchestrator",
            f'echo "$@" >> {self._calls}\ncase $(wc -l < {self._calls}) in {cases} esac\nexit 99',
        )

    @property
    def calls(self) -> list[str]:
        """Arguments of each call."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []


class Scheduler:
    """A scheduler in its own environment, with the file of the page.

    Args:
        folder: An empty folder.
    """

    name: ClassVar[str]
    """Name of its file on the page."""

    def __init__(self, folder: Path) -> None:
        self.said = ""
        self.text = files(PAGE, "python")[self.name]
        self.folder = folder
        self.file = folder / self.name
        self.file.parent.mkdir(exist_ok=True)
        keep = ("PATH", "LANG", "SSL_CERT_FILE", "TMPDIR")
        self.environment = {name: os.environ[name] for name in keep if name in os.environ}
        self.environment |= {"HOME": str(folder)}

    def write(self, command: Path, manifest: Path) -> None:
        """Write the file for a command and a manifest, with pauses of no time."""
        text = self.text.replace(COMMAND, str(command)).replace(MANIFEST, str(manifest))
        for pause in ("minutes=10", "seconds_to_wait=600", "retry_delay_seconds=600"):
            text = text.replace(pause, pause.rpartition("=")[0] + "=0")
        self.file.write_text(text)

    def run(self) -> bool:
        """Run the job once; return True if the scheduler calls it a success."""
        raise NotImplementedError

    def do(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the scheduler, and keep what it says."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        self.said = done.stdout + done.stderr
        return done


class Airflow(Scheduler):
    """Airflow, with a database of its own."""

    name = "dags/nightly_stems.py"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.airflow = installed("apache-airflow") / "airflow"
        self.environment |= {
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        migrated = self.do(self.airflow, "db", "migrate")
        assert migrated.returncode == 0, migrated.stderr

    def run(self) -> bool:
        self.do(self.airflow, "dags", "test", "nightly_stems")
        is_success = "state=success" in self.said
        assert is_success != ("state=failed" in self.said), self.said
        return is_success


class Prefect(Scheduler):
    """Prefect, whose temporary server belongs to one call."""

    name = "nightly_stems.py"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.python = installed("prefect") / "python"
        self.environment |= {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": f"{WAIT_S / 2:.0f}",
        }

    def run(self) -> bool:
        program = "from nightly_stems import nightly_stems; nightly_stems()"
        return self.do(self.python, "-c", program).returncode == 0


class Dagster(Scheduler):
    """Dagster, without an instance."""

    name = "nightly_stems_dagster.py"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.python = installed("dagster") / "python"

    def run(self) -> bool:
        program = (
            "from nightly_stems_dagster import defs\n"
            "job = defs.resolve_job_def('nightly_stems')\n"
            "raise SystemExit(not job.execute_in_process(raise_on_error=False).success)"
        )
        return self.do(self.python, "-c", program).returncode == 0


KINDS = [Airflow, Prefect, Dagster]


@needs_schedulers
@pytest.mark.schedulers
@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_runs_the_command(
    here: Playground, tmp_path: Path, kind: type[Scheduler]
) -> None:
    here.write("in/a.mp3")
    scheduler = kind(tmp_path)
    scheduler.environment |= {
        "TENCENTCLOUD_SECRET_ID": KEYS.secret_id,
        "TENCENTCLOUD_SECRET_KEY": KEYS.secret_key,
        "ORCHESTRATOR_STATE_DIR": "off",
    }
    scheduler.write(INSTALLED, here.path)

    assert scheduler.run(), scheduler.said
    assert here.rows()[0]["state"] == "succeeded"


@needs_schedulers
@pytest.mark.schedulers
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("codes", "is_success"),
    [([0], True), ([1], False), ([5], True), ([6], False), ([7, 7, 0], True)],
)
def test_a_scheduler_treats_an_exit_code_as_the_page_says(
    tmp_path: Path, kind: type[Scheduler], codes: list[int], is_success: bool
) -> None:
    scheduler = kind(tmp_path)
    stand_in = StandIn(tmp_path, codes)
    scheduler.write(stand_in.path, Path("/tmp/m.yaml"))  # noqa: S108 - is not opened

    assert scheduler.run() == is_success, scheduler.said
    assert stand_in.calls == ["run /tmp/m.yaml --quiet"] * len(codes)
