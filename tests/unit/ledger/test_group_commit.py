"""The thread that owns the database: groups, errors, closing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.errors import LedgerError, LedgerMismatch, OrchestratorError
from orchestrator.ledger.group_commit import GroupWriter, Recovery

if TYPE_CHECKING:
    from orchestrator.ledger.unit_of_work import UnitOfWork


class Notes:
    """A store and a unit of work in one, without a database; notes the calls."""

    def __init__(self, *, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.notes: list[str] = []

    def note(self, word: str) -> None:
        self.notes.append(word)
        if word == self.fails_at:
            raise OSError(word)

    # The store.
    def open(self) -> UnitOfWork:
        self.note("open")
        return cast("UnitOfWork", self)

    def close(self, unit: UnitOfWork) -> None:
        self.note("close")

    def commit(self, unit: UnitOfWork) -> None:
        self.note("commit")

    def rollback(self, unit: UnitOfWork) -> None:
        self.note("rollback")

    idle_s = None
    trouble = ""

    def recover(self, unit: UnitOfWork, error: Exception) -> Recovery:
        return Recovery.REPORT

    def explain(self, error: Exception) -> OrchestratorError:
        return error if isinstance(error, OrchestratorError) else LedgerError(f"explained {error}")

    # The store's method has an argument, the unit's has none.
    def begin(self, unit: Any = None, *, writes: bool | None = None) -> None:
        if unit is not None:
            self.note("begin writing" if writes else "begin reading")

    def finish(self) -> None:
        self.note("finish")

    def done(self) -> None:
        self.note("done")

    def undo(self) -> None:
        self.note("undo")


def say(word: str) -> Any:
    def work(unit: Any) -> str:
        unit.note(word)
        return word

    return work


async def test_calls_of_one_moment_share_a_transaction_in_their_order() -> None:
    store = Notes()
    writer = GroupWriter(store)
    answers = await asyncio.gather(
        *(writer.submit(say(word), writes=word == "b") for word in "abc")
    )
    await writer.close()

    assert answers == ["a", "b", "c"]
    assert store.notes[:8] == ["open", "begin writing", "a", "b", "c", "finish", "commit", "done"]
    assert store.notes[-1] == "close"


async def test_reading_alone_takes_no_write_lock() -> None:
    store = Notes()
    writer = GroupWriter(store)
    await writer.submit(say("a"), writes=False)
    await writer.close()

    assert store.notes[1] == "begin reading"


@pytest.mark.parametrize("place", ["begin writing", "b", "finish", "commit"])
async def test_a_failure_undoes_the_group_and_every_caller_gets_an_error(place: str) -> None:
    store = Notes(fails_at=place)
    writer = GroupWriter(store)
    answers = await asyncio.gather(
        *(writer.submit(say(word), writes=True) for word in "abc"), return_exceptions=True
    )

    assert [str(error) for error in answers] == [f"explained {place}"] * 3
    assert store.notes[-2:] == ["rollback", "undo"]
    store.fails_at = ""
    assert await writer.submit(say("d"), writes=True) == "d"
    await writer.close()


async def test_each_caller_gets_its_own_error_with_the_same_cause() -> None:
    def refuse(unit: UnitOfWork) -> None:
        raise LedgerMismatch("no") from ValueError("why")

    writer = GroupWriter(Notes())
    answers = await asyncio.gather(
        writer.submit(refuse, writes=True),
        writer.submit(say("b"), writes=True),
        return_exceptions=True,
    )
    await writer.close()

    assert {type(error) for error in answers} == {LedgerMismatch}
    assert answers[0] is not answers[1]
    assert isinstance(cast("LedgerMismatch", answers[1]).__cause__, ValueError)


async def test_calls_made_while_a_group_is_written_join_the_next_group() -> None:
    store = Notes()
    writer = GroupWriter(store)
    first = writer.submit(say("a"), writes=True)
    await asyncio.wait([first], timeout=0)
    later = [writer.submit(say(word), writes=True) for word in "bc"]
    await asyncio.gather(first, *later)
    await writer.close()

    assert "".join(word for word in store.notes if len(word) == 1) == "abc"
    assert store.notes.count("commit") == 3  # the last one is the close's


async def test_many_callers_over_many_groups_are_all_answered() -> None:
    writer = GroupWriter(Notes())

    async def ask(number: int) -> int:
        for turn in range(20):
            word = f"{number} {turn}"
            assert await writer.submit(say(word), writes=True) == word
        return number

    assert await asyncio.gather(*(ask(number) for number in range(50))) == list(range(50))
    await writer.close()


async def test_closing_finishes_accepted_work() -> None:
    store = Notes()
    writer = GroupWriter(store)
    asked = writer.submit(say("a"), writes=True)
    await writer.close()
    await writer.close()

    assert await asked == "a"
    with pytest.raises(LedgerError, match="closed"):
        await writer.submit(say("b"), writes=True)
    assert store.notes.count("close") == 1


def test_a_store_that_cannot_be_opened_raises_at_once() -> None:
    with pytest.raises(OSError, match="open"):
        GroupWriter(Notes(fails_at="open"))


def test_a_loop_that_ended_without_closing_leaves_the_writer_usable() -> None:
    writer = GroupWriter(Notes())

    async def ask() -> str:
        return await writer.submit(say("a"), writes=True)

    assert asyncio.run(ask()) == "a"
    assert asyncio.run(ask()) == "a"
    asyncio.run(writer.close())
