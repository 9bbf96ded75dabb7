"""A run at one moment, names of every kind, and a clock that the test moves."""

from __future__ import annotations

from orchestrator.live.snapshot import FileNow, Snapshot, Stage

LONG = "incoming/2026/interviews/with a name that never ends, part 007.mp3"
WIDE = "incoming/访谈录音/二零二六年十一月的很长很长的采访录音文件第七集.mp3"
RUN = Snapshot(
    run="nightly-stems-20261122T010000Z",
    at=1_795_309_200.0,
    elapsed_s=754.0,
    jobs={
        Stage.DONE: 1229, Stage.RUNNING: 20, Stage.QUEUED: 3, Stage.WAITING: 741,
        Stage.IN_DOUBT: 2, Stage.FAILED: 5,
    },
    work={
        Stage.DONE: 0.62, Stage.RUNNING: 0.01, Stage.QUEUED: 0.002, Stage.WAITING: 0.366,
        Stage.IN_DOUBT: 0.001, Stage.FAILED: 0.001,
    },
    is_planned=True,
    done_before=12,
    rate_per_s=10.24,
    eta_s=432.0,
    cost=1.234,
    currency="CNY",
    files=(
        FileNow(LONG, 83.0, 0.45, is_said=True),
        FileNow(WIDE, 12.0, 0.8),
        FileNow("a\x1b[31m\nb.mp3", 1.0),
        FileNow("waits.mp3", 0.4, is_running=False),
    ),
    more_files=19,
    waits_for=("the rate limit: 10 submits/s",),
)  # fmt: skip


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return 1_795_308_200.0 + self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s
