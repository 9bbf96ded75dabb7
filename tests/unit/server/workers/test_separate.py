"""A failure of the machine differs from a failure of the file."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import NoReturn

import pytest

from orchestrator.separation.errors import SeparationFailed
from orchestrator.server.workers import separate
from orchestrator.server.workers.protocol import MachineAtFault, WorkFailed, WorkTask

TASK = WorkTask("in.mp3", {"voice": "v.mp3"}, "AudioAndBackground", {"codec": "mp3"})


def test_the_users_number_of_threads_goes_before_the_share_of_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int | None] = []

    def fail(*_: object, threads: int | None) -> NoReturn:
        seen.append(threads)
        raise SeparationFailed("InternalError", "text")

    monkeypatch.setattr(separate, "separate_file", fail)
    for named in ("", "3"):
        monkeypatch.setenv("ORCHESTRATOR_ENGINE_THREADS", named)
        with pytest.raises(WorkFailed):
            separate.separate(replace(TASK, threads=5), lambda _: None)
    assert seen == [5, None]  # None: the separation reads the variable


@pytest.mark.parametrize(
    ("code", "cause", "is_machines"),
    [
        ("EngineNotInstalled", None, True),
        ("InternalError", OSError(errno.ENOSPC, "No space left on device"), True),
        ("InternalError", OSError(errno.EMFILE, "Too many open files"), True),
        ("InternalError", ImportError("No module named 'numpy'"), True),
        ("InternalError", OSError(errno.EINVAL, "Invalid argument"), False),
        ("InternalError", ValueError("an odd file"), False),
        ("ResourceNotSupported", None, False),
    ],
)
def test_only_faults_of_the_machine_put_the_job_back(
    monkeypatch: pytest.MonkeyPatch, code: str, cause: Exception | None, is_machines: bool
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise SeparationFailed(code, "text") from cause

    monkeypatch.setattr(separate, "separate_file", fail)

    with pytest.raises(WorkFailed) as caught:
        separate.separate(TASK, lambda _: None)

    assert isinstance(caught.value, MachineAtFault) is is_machines
    wanted = "EngineNotInstalled" if isinstance(cause, ImportError) else code
    assert (caught.value.code, caught.value.message) == (wanted, "text")
