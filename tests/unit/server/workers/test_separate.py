"""A failure of the machine differs from a failure of the file."""

from __future__ import annotations

import errno
from typing import NoReturn

import pytest

from orchestrator.separation.separate import SeparationFailed
from orchestrator.server.workers import separate
from orchestrator.server.workers.protocol import MachineAtFault, WorkFailed, WorkTask

TASK = WorkTask("in.mp3", {"voice": "v.mp3"}, "AudioAndBackground", {"codec": "mp3"})


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
    def fail(*_: object) -> NoReturn:
        raise SeparationFailed(code, "text") from cause

    monkeypatch.setattr(separate, "separate_file", fail)

    with pytest.raises(WorkFailed) as caught:
        separate.separate(TASK, lambda _: None)

    assert isinstance(caught.value, MachineAtFault) is is_machines
    assert (caught.value.code, caught.value.message) == (code, "text")
