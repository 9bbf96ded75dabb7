"""Metrics of a run for Prometheus, from its events and its summary."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain.events import JobSending, RateChanged, SubmitThrottled
from orchestrator.domain.states import JobState
from orchestrator.durable import reason_of
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock
    from orchestrator.live.tally import Tally

_EVERY_S = 15.0
"""Pause between two writes: Prometheus reads the file as often as it scrapes, seldom faster."""
_LAST_SUCCESS = "orchestrator_last_success_timestamp_seconds"


class Metrics:
    """Collects the metrics of a run as it goes (an event sink).

    Each metric has the label ``manifest``, so that the files of several manifests may lie in one
    folder.

    Args:
        tally: Counts of the run; it receives the events elsewhere, before they come here.
        manifest: Name of the manifest.
        rate_per_s: Rate limit of submits at the start.
    """

    def __init__(self, tally: Tally, manifest: str, rate_per_s: float = 0.0) -> None:
        self.registry = registry = CollectorRegistry()
        self._manifest = manifest
        self._jobs = Gauge(
            "orchestrator_jobs",
            "Jobs of the run by state",
            ["manifest", "state"],
            registry=registry,
        )
        for state in JobState:
            self._jobs.labels(manifest, state.value).set_function(partial(tally.of, state))
        self._jobs.labels(manifest, "skipped").set_function(lambda: tally.done_before)
        self._in_doubt = self._gauge("orchestrator_in_doubt", "Jobs in doubt")
        self._in_doubt.set_function(partial(tally.of, JobState.IN_DOUBT))
        self._submits = self._counter("orchestrator_submits", "Submits sent")
        self._throttled = self._counter("orchestrator_throttled", "Submits refused as too fast")
        self._rate = self._gauge("orchestrator_rate_limit", "Rate limit of submits, per second")
        self._rate.set(rate_per_s)
        self._cost = self._gauge("orchestrator_cost", "Cost of the finished jobs")
        self._success = self._gauge(_LAST_SUCCESS, "End of the last run with exit code 0")
        self._exit_code = self._gauge("orchestrator_run_exit_code", "Exit code; -1 while it runs")
        self._exit_code.set(-1)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["manifest"], registry=self.registry).labels(self._manifest)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["manifest"], registry=self.registry).labels(self._manifest)

    def emit(self, event: Event) -> None:
        """Take one event."""
        match event:
            case JobSending():
                self._submits.inc()
            case SubmitThrottled():
                self._throttled.inc()
            case RateChanged():
                self._rate.set(event.rate_per_s)
            case _:
                pass

    def last_success(self, at: float) -> None:
        """Note when an earlier run ended well."""
        self._success.set(at)

    def ended(self, exit_code: int, now: float, summary: dict[str, Any] | None = None) -> None:
        """Note how the command ended.

        Args:
            exit_code: Its exit code.
            now: Wall time.
            summary: Summary of the run, or None if it could not begin. It knows what earlier
                visits did, which events do not tell.
        """
        self._exit_code.set(exit_code)
        if exit_code == 0:
            self._success.set(now)
        if summary is None:
            return
        for state in (*JobState, "skipped"):
            number = summary["jobs"][state]
            self._jobs.labels(self._manifest, str(state)).set_function(partial(float, number))
        self._in_doubt.set_function(partial(float, summary["jobs"][JobState.IN_DOUBT]))
        self._cost.set(summary["cost"]["actual"] if "cost" in summary else 0.0)


class MetricsFile:
    """Writes metrics to a file for node_exporter's textfile collector (an event sink).

    The file is replaced at once, at most every 15 seconds and at the end. A file of an earlier run
    gives the time of the last success. A file that cannot be written during the run or at its end
    changes nothing about the run: it is reported once, and tried again when it is due.

    Args:
        path: The file; its name must end in ``.prom`` for node_exporter.
        metrics: The metrics.
        clock: Time.
        complain: Reports that the file cannot be written.

    Raises:
        ConfigError: If the file cannot be written before the run.
    """

    def __init__(
        self, path: Path, metrics: Metrics, clock: Clock, complain: Callable[[str], None]
    ) -> None:
        self._path = path
        self._metrics = metrics
        self._clock = clock
        self._complain = complain
        self._is_reported = False
        metrics.last_success(_stored(path)[1])
        try:
            self._write()
        except OSError as error:
            raise ConfigError(
                f"{self._unwritable(error)} Choose another with --metrics-file."
            ) from error
        self._due_at = clock.monotonic() + _EVERY_S

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._metrics.emit(event)
        if self._clock.monotonic() >= self._due_at:
            self._due_at = self._clock.monotonic() + _EVERY_S
            self._try_to_write()

    def ended(self, exit_code: int, summary: dict[str, Any] | None = None) -> None:
        """Write how the command ended (``Metrics.ended``)."""
        self._metrics.ended(exit_code, self._clock.now(), summary)
        self._try_to_write()

    def _try_to_write(self) -> None:
        """Write the file; report the first failure of several in a row."""
        try:
            self._write()
        except OSError as error:
            if not self._is_reported:
                self._is_reported = True
                self._complain(f"{self._unwritable(error)} The run is not affected.")
        else:
            self._is_reported = False

    def _write(self) -> None:
        write_to_textfile(str(self._path), self._metrics.registry)

    def _unwritable(self, error: OSError) -> str:
        return f"Cannot write the metrics file {self._path}: {reason_of(error)}."


def stored_manifest(path: Path) -> str:
    """Return the manifest that an earlier file is about; empty if there is none."""
    return _stored(path)[0]


def _stored(path: Path) -> tuple[str, float]:
    """Return the manifest and its last success as an earlier file has them, or nothing and 0."""
    with suppress(OSError, ValueError):
        for family in text_string_to_metric_families(path.read_text("utf-8")):
            for sample in family.samples:
                if sample.name == _LAST_SUCCESS:
                    return sample.labels.get("manifest", ""), sample.value
    return "", 0.0
