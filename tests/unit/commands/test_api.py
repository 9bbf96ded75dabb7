"""Errors of runs that a program starts, and content that it gives."""

from __future__ import annotations

import asyncio
import gc
from datetime import date
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import yaml

from orchestrator.commands.api import source_of, start
from orchestrator.errors import ManifestError

FAULTY = {"name": "album", "leve": 2}


class Kind(Enum):
    LOCAL = "local"


class Word(StrEnum):
    BUCKET = "demo-1250000000"


class Level(IntEnum):
    BEST = 2


@pytest.fixture
async def logged() -> list[dict[str, Any]]:
    """What asyncio logs about errors that no one has read."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


async def test_an_iteration_ends_with_the_error_of_the_run(tmp_path: Path) -> None:
    async with start(FAULTY, folder=tmp_path) as running:
        with pytest.raises(ManifestError, match="leve"):
            _ = [event async for event in running]


async def test_a_block_that_reads_nothing_ends_with_the_error_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="leve"):
        async with start(FAULTY, folder=tmp_path):
            pass


async def test_an_error_that_the_block_has_got_is_not_raised_again(tmp_path: Path) -> None:
    async with start(FAULTY, folder=tmp_path) as running:
        with pytest.raises(ManifestError, match="leve"):
            await running.result()


async def test_the_error_of_the_block_comes_first_and_nothing_is_logged(
    tmp_path: Path, logged: list[dict[str, Any]]
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with start(FAULTY, folder=tmp_path) as running:
            raise ZeroDivisionError
    del running
    gc.collect()

    assert logged == []


def test_paths_and_enumerations_are_written_as_their_values() -> None:
    path = Path("lists") / "a.csv"
    content = {
        "bucket": Word.BUCKET,
        Word.BUCKET: {"list": path, "kind": Kind.LOCAL},
        "inputs": ({"object": PurePosixPath("in/a.mp3"), "level": Level.BEST}, {"list": path}),
        "folder": PureWindowsPath("C:/music"),
        "plain": [None, True, 1, 0.5, "yes", date(2026, 11, 28)],
    }

    stored = source_of(content).content

    assert stored is not None
    assert yaml.safe_load(stored) == {
        "bucket": "demo-1250000000",
        "demo-1250000000": {"list": "lists/a.csv", "kind": "local"},
        "inputs": [{"object": "in/a.mp3", "level": 2}, {"list": "lists/a.csv"}],
        "folder": "C:\\music",
        "plain": [None, True, 1, 0.5, "yes", date(2026, 11, 28)],
    }


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"name": object()}, "name"),
        ({"inputs": [{"object": "a"}, {"object": b"raw"}]}, r"inputs\[1\]\.object"),
        ({"budget": {"deadline": {1, 2}}}, r"budget\.deadline"),
        ({"params": {("a", "b"): 1}}, "params"),
    ],
)
def test_a_value_that_a_manifest_cannot_hold_is_refused_with_its_place(
    content: dict[str, Any], place: str
) -> None:
    with pytest.raises(ManifestError, match=f"^{place}: .* is of the type .*cannot hold"):
        source_of(content)
