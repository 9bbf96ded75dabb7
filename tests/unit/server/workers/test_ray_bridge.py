"""Words and variables of the process between the service and Ray."""

from __future__ import annotations

import pytest

from orchestrator.server.workers.ray_bridge import environment, reason_of

CREATION = """The actor died because of an error raised in its creation task, pid=7
  File "process.py", line 50, in load
    return cast("Work", getattr(importlib.import_module(module), function))
ModuleNotFoundError: No module named 'orchestrator'
"""
KILLED = """The actor died unexpectedly before finishing this task.
	class_name: Separator
The actor is dead because its worker process has died.
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CREATION, "ModuleNotFoundError: No module named 'orchestrator'"),
        (KILLED, "RuntimeError: The actor died unexpectedly before finishing this task."),
        ("", "RuntimeError"),
    ],
)
def test_a_long_error_of_ray_becomes_one_line(text: str, reason: str) -> None:
    assert reason_of(RuntimeError(text)) == reason


def test_nothing_is_reported_and_a_cluster_of_this_machine_has_its_own_token() -> None:
    mine, other = environment("/f", is_local=True), environment("/f", is_local=False)
    for variables in (mine, other):
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        assert variables["RAY_TMPDIR"] == "/f"
    assert mine["RAY_AUTH_TOKEN"] != environment("/f", is_local=True)["RAY_AUTH_TOKEN"]
    assert "RAY_AUTH_TOKEN" not in other
