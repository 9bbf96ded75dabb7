"""Globs, and remarks on those that match nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.remote import SkipReason
from orchestrator.manifest.planning.spec_stream import Feed, check
from orchestrator.manifest.sources.globs import Filter, Globs
from orchestrator.manifest.sources.item import Skipped
from orchestrator.manifest.sources.selection import Selection

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk


@pytest.mark.parametrize("name", ["in/song [live].wav", "[", "a]b", "[!a]", "in/[a-", "*?[x].mp3"])
def test_an_equal_name_always_matches(name: str) -> None:
    assert Globs([name])(name)


@given(st.text(max_size=12).filter(lambda text: "://" not in text))
def test_any_name_matches_itself(name: str) -> None:
    assert Globs([name, "never.seen"])(name)


def test_brackets_are_still_a_choice() -> None:
    globs = Globs(["in/[ab].mp3"])

    assert globs("in/a.mp3")
    assert not globs("in/c.mp3")


def test_a_filter_knows_globs_that_matched_nothing_and_names_that_differ_in_case() -> None:
    names = Filter(["*.mp3", "*.wav", "*.flac"], ["*/draft/*"])

    assert [names.takes(name) for name in ("a.mp3", "B.WAV", "c.WAV", "d.txt")] == [
        True,
        False,
        False,
        False,
    ]
    assert names.near == (2, "B.WAV")
    assert names.unmatched() == [
        ("include", '"*.wav" matches no object. Only the case differs from "B.WAV".'),
        ("include", '"*.flac" matches no object.'),
        ("exclude", '"*/draft/*" matches no object.'),
    ]


async def _remarks(desk: Desk, text: str, selection: Selection | None = None) -> list[str]:
    feed = Feed(desk.load(text), None, selection)
    async for _ in feed.specs():
        pass
    return feed.found.remarks


def test_skipped_files_are_counted_by_reason_with_a_few_names() -> None:
    skipped = Skipped()
    for number in range(5):
        skipped.add(SkipReason.NOT_UTF_8, f"{number}.mp3")
    skipped.add(SkipReason.LINK, "link")

    assert skipped.text() == (
        '6 skipped: 5 names that are not UTF-8 ("0.mp3", "1.mp3", "2.mp3", ...) and '
        '1 symbolic link ("link").'
    )


RULES = """\
defaults: {output: {voice: "s/{object}/v"}}
inputs: [{list: l.csv, include: ["*.mp3", "*.WAV"]}]
rules:
  - when: {object: "in/song [live].mp3"}
    level: 2
  - when: {object: "IN/*", column: {genre: Talk}}
    level: 1
  - when: {min_size: 1GB}
    level: 1
"""


async def test_rules_and_filters_that_match_nothing_are_remarked(desk: Desk) -> None:
    desk.write("l.csv", "object,genre\nin/song [live].mp3,talk\nin/b.wav,talk\n")

    remarks = await _remarks(desk, RULES)
    assert len(remarks) == 4
    assert 'inputs[0].include: "*.WAV" matches no object. Only the case differs' in remarks[0]
    assert '1 skipped: 1 name that differs from include only in case ("in/b.wav").' in remarks[1]
    assert "rules[1]: This rule matches no object. Only the case differs" in remarks[2]
    assert "rules[2]: This rule matches no object." in remarks[3]
    assert (await check(desk.load(RULES), 50))[1] == remarks


async def test_only_that_matches_nothing_is_remarked_and_rules_are_not(desk: Desk) -> None:
    desk.write("l.csv", "object,genre\nin/a.mp3,talk\n")

    remarks = await _remarks(desk, RULES, Selection(["IN/*"]))
    assert [text for text in remarks if "rules" in text] == []
    assert remarks[-1] == '--only "IN/*" matches no object. Only the case differs from "in/a.mp3".'


async def test_a_name_with_brackets_is_selected_by_only(desk: Desk) -> None:
    desk.write("l.csv", "object\nin/song [live].mp3\nin/b.mp3\n")
    text = 'defaults: {output: {voice: "s/{object}/v"}}\ninputs: [{list: l.csv}]\n'
    feed = Feed(desk.load(text), None, Selection(["in/song [live].mp3"]))

    specs = [spec async for batch in feed.specs() for spec in batch]
    assert [spec.media.key for spec in specs] == ["in/song [live].mp3"]
    assert feed.found.remarks == []


async def test_a_selection_that_stops_early_says_nothing(desk: Desk) -> None:
    desk.write("l.csv", "object\na.mp3\nb.mp3\n")

    assert await _remarks(desk, RULES.replace("IN/*", "b*"), Selection(limit=1)) == []
