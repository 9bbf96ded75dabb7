"""The shared file: found, damaged, removed, refused; nothing is lost but a second or two."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import pytest

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.client.limits.shared_limit import STATE_VARIABLE, shared_limits, state_folders
from orchestrator.client.limits.shelf import FileShelf, ShelfBusy
from orchestrator.durable import FileLock
from orchestrator.testing.loop import LoopClock, VirtualTimeLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path


def read(shelf: FileShelf) -> dict[str, Any] | None:
    seen: list[dict[str, Any] | None] = []

    def act(content: dict[str, Any] | None) -> dict[str, Any]:
        seen.append(content)
        return content or {}

    shelf.change(act)
    return seen[0]


def put(shelf: FileShelf, value: int, size: int = 0) -> None:
    shelf.change(lambda _: {"value": value, "filler": "x" * size})


@pytest.fixture
def shelves(tmp_path: Path) -> tuple[FileShelf, FileShelf]:
    made = FileShelf(tmp_path, "account", "a"), FileShelf(tmp_path, "account", "b")
    for shelf in made:
        shelf.join()
    return made


def test_members_see_what_others_wrote_also_if_it_becomes_shorter(
    shelves: tuple[FileShelf, FileShelf],
) -> None:
    first, second = shelves
    assert read(first) is None
    put(first, 1, size=40_000)
    put(second, 2)
    assert read(first) == {"value": 2, "filler": ""}


def test_accounts_have_files_of_their_own_and_only_the_hash_of_their_names(tmp_path: Path) -> None:
    first, second = FileShelf(tmp_path, "1250000000", "a"), FileShelf(tmp_path, "1250000001", "a")
    assert first.path != second.path
    assert "125000000" not in first.path.name


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_bytes(path.read_bytes().replace(b"value", b"valve")),
        lambda path: os.truncate(path, 25),
    ],
    ids=["removed", "empty", "not ours", "one letter", "cut"],
)
def test_a_damaged_file_is_as_good_as_none(
    shelves: tuple[FileShelf, FileShelf], damage: Callable[[Path], object]
) -> None:
    first, second = shelves
    put(first, 1)
    damage(first.path)
    assert read(second) is None
    put(second, 2)
    assert read(first) == {"value": 2, "filler": ""}


def test_a_change_does_not_wait_for_another_process(shelves: tuple[FileShelf, FileShelf]) -> None:
    held = FileLock(shelves[0].path)
    assert held.acquire()
    with pytest.raises(ShelfBusy):
        put(shelves[0], 1)
    held.release()
    put(shelves[0], 1)


def test_a_member_is_alive_until_it_leaves_and_shows_it_again_if_its_sign_is_removed(
    shelves: tuple[FileShelf, FileShelf], tmp_path: Path
) -> None:
    first, second = shelves
    assert first.is_alive("b")
    for sign in tmp_path.glob("*.b.alive"):
        sign.unlink()
    assert not first.is_alive("b")
    second.join()
    assert first.is_alive("b")
    second.leave()
    assert not first.is_alive("b")
    assert [path.name for path in tmp_path.glob("*.b.alive")] == []


def on_virtual_loop(loop: asyncio.AbstractEventLoop) -> LoopClock:
    assert isinstance(loop, VirtualTimeLoop)
    return LoopClock(loop)


class Run:
    """A limiter that takes part in the shared limits of an account."""

    def __init__(self, clock: LoopClock, rate: float = 10) -> None:
        self.clock = clock
        self.limiter = AdaptiveLimiter(rate, clock)
        self.notices: list[str] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        limits = shared_limits("me", {"query": self.limiter}, self.clock, self.notices.append)
        await self._stack.enter_async_context(limits)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, for_s: float) -> int:
        """Send as much as possible; return how many."""
        end, sent = self.clock.monotonic() + for_s, 0
        while self.clock.monotonic() < end:
            await self.limiter.acquire()
            sent += 1
        return sent


def play(scene: Callable[[LoopClock], Any]) -> None:
    import asyncio

    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(500.0)) as runner:
        runner.run(scene(on_virtual_loop(runner.get_loop())))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder; the machine's temporary folder is beside it."""
    folder, temporary = tmp_path / "state", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv(STATE_VARIABLE, str(folder))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    return folder


def test_runs_one_after_the_other_have_the_whole_limit_and_need_not_wait_again(state: Path) -> None:
    async def scene(clock: LoopClock) -> None:
        async with Run(clock) as first:
            assert 198 <= await first.send(20.0) <= 201, "it begins at once"
        async with Run(clock) as second:
            assert 198 <= await second.send(20.0) <= 201
        assert first.notices == second.notices == []

    play(scene)

    assert [path.suffix for path in (state / "limits").iterdir()] == [".limits"]


def test_a_file_that_is_removed_or_damaged_during_a_run_costs_two_seconds_at_most(
    state: Path,
) -> None:
    async def scene(clock: LoopClock) -> None:
        async with Run(clock) as run:
            await run.send(5.0)
            for path in (state / "limits").iterdir():
                path.unlink()
            assert 180 <= await run.send(20.0) <= 201
            for path in (state / "limits").glob("*.limits"):
                path.write_bytes(b"nonsense")
            assert 180 <= await run.send(20.0) <= 201

    play(scene)


def test_a_state_folder_that_cannot_be_made_gives_way_to_the_temporary_folder(state: Path) -> None:
    state.write_text("not a folder")

    async def scene(clock: LoopClock) -> None:
        async with Run(clock) as first, Run(clock) as second:
            assert await first.send(20.0) + await second.send(0.0) <= 201
            assert len(first.limiter.seats) + len(second.limiter.seats) <= 10
        assert first.notices == []

    play(scene)


def test_a_full_disk_is_no_reason_to_use_another_folder(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other runs began when it was not full, and would not be seen from there."""

    def full(*_: object, **__: object) -> bool:
        raise OSError(28, "No space left on device")

    async def scene(clock: LoopClock) -> None:
        monkeypatch.setattr(FileShelf, "change", full)
        async with Run(clock) as run:
            assert 198 <= await run.send(20.0) <= 201
        assert len(run.notices) == 1
        assert "No space left on device" in run.notices[0]

    play(scene)

    assert list((tmp_path / "tmp").iterdir()) == list((state / "limits").iterdir()) == []


def test_files_of_earlier_starts_of_the_machine_are_removed_after_a_month(tmp_path: Path) -> None:
    names = ["old.limits", "old.a.alive", "new.limits", "used.b.alive", "old.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
        if not name.startswith("new"):
            os.utime(tmp_path / name, (1e9, 1e9))
    used = FileLock(tmp_path / "used.b.alive")
    assert used.acquire()

    FileShelf(tmp_path, "account", "a").join()

    assert [name for name in names if (tmp_path / name).exists()] == names[2:]
    used.release()


def test_a_dead_member_leaves_a_trace_until_it_is_looked_for(
    shelves: tuple[FileShelf, FileShelf],
) -> None:
    first, second = shelves
    assert sorted(first.traces()) == ["a", "b"]
    (second.path.parent / f"{second.path.stem}.dead.alive").write_bytes(b"")
    assert "dead" in first.traces()
    assert not first.is_alive("dead")
    assert sorted(first.traces()) == ["a", "b"]


def test_without_any_folder_a_run_says_so_once_and_keeps_the_limit_by_itself(
    state: Path, tmp_path: Path
) -> None:
    state.write_text("not a folder")
    (tmp_path / "tmp" / f"orchestrator-limits-{os.getuid()}").write_text("not a folder")

    async def scene(clock: LoopClock) -> None:
        async with Run(clock) as run:
            assert 198 <= await run.send(20.0) <= 201
        assert len(run.notices) == 1
        assert STATE_VARIABLE in run.notices[0]
        assert str(state) in run.notices[0]

    play(scene)


def test_sharing_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, "off")
    assert state_folders() == []

    async def scene(clock: LoopClock) -> None:
        async with Run(clock) as run:
            assert 198 <= await run.send(20.0) <= 201
        assert run.notices == []

    play(scene)


@pytest.mark.parametrize("rate", [2.5, 10])
def test_two_runs_never_hold_more_seats_than_the_limit(state: Path, rate: float) -> None:
    async def scene(clock: LoopClock) -> None:
        async with Run(clock, rate) as first, Run(clock, rate) as second:
            for _ in range(40):
                await first.send(0.2)
                await second.send(0.1)
                assert len(first.limiter.seats) + len(second.limiter.seats) <= rate + 0.5

    play(scene)
