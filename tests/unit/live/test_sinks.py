"""Several sinks as one, of which any may fail."""

from __future__ import annotations

import io

from orchestrator.domain import events as ev
from orchestrator.live.event_log import LineSink
from orchestrator.live.sinks import Sinks


def test_a_sink_that_fails_is_removed_and_the_others_report_it() -> None:
    class Broken:
        calls = 0

        def emit(self, event: ev.Event) -> None:
            self.calls += 1
            raise OSError("the pipe is gone")

    broken, stream = Broken(), io.StringIO()
    sinks = Sinks(broken, LineSink(stream))
    for _ in range(3):
        sinks.emit(ev.Noticed("hello"))

    assert broken.calls == 1
    assert stream.getvalue().count("hello") == 3
    assert stream.getvalue().count("Broken failed and is switched off") == 1
