"""Typographic characters in a manifest: faults where they stand for syntax, text elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ManifestError
from orchestrator.manifest.yaml.syntax_errors import key_fault, line_fault, value_fault

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk


@pytest.mark.parametrize(
    "text",
    [
        "in/Don\u2019t stop.mp3",
        "in/\u201cNow\u201d live.mp3",
        "\u201cNow\u201d live.mp3",
        "in/live \u201cNow\u201d",
        "\u2018til dawn.mp3",
        "Guns N\u2019",
        "in/Titre\u00a0: suite.mp3",
        "音楽\uff1a第一.mp3",
        "晚安",
        "「夜曲」",
    ],
)
async def test_inside_a_name_they_are_text(desk: Desk, text: str) -> None:
    assert value_fault(text, is_plain=True) == ""
    written = json.dumps(text, ensure_ascii=False)
    (spec,) = await desk.plan(
        f'defaults: {{output: {{voice: "s"}}}}\ninputs:\n  - object: {written}\n'
    )
    assert spec.media.key == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u201ca\u201d", 'Use straight quotes: "a"'),
        ("\u201ea\u201c", 'Use straight quotes: "a"'),
        ("\u00aba\u00bb", 'Use straight quotes: "a"'),
        ("\u2018a\u2019", 'Use straight quotes: "a"'),
        ('\u201da"', 'Use straight quotes: "a"'),
        ("\u201ca", 'Use straight quotes: "a"'),
        ("a\u00a0", "U+00A0"),
        ("\u200ba", "U+200B"),
        ("\u3000a", "U+3000"),
        ("-\u00a0a", "U+00A0"),
        ("voice:\u00a0a", "U+00A0"),
        ("voice\uff1aa", "U+FF1A"),
    ],
)
def test_around_a_value_they_are_a_fault(text: str, words: str) -> None:
    assert words in value_fault(text, is_plain=True)


@pytest.mark.parametrize(
    "text",
    ["\u201cvoice\u201d", "voice\u00a0", "\u00a0\u00a0voice", "c\u201d", "voice\uff1a"],
)
def test_in_a_key_they_are_a_fault(text: str) -> None:
    assert key_fault(text)


def test_a_column_may_have_an_apostrophe() -> None:
    assert key_fault("l\u2019artiste") == ""


def test_a_line_that_breaks_the_syntax_names_the_character_and_its_column() -> None:
    found = line_fault('  voice: "a\u201d')

    assert found is not None
    assert "U+201D" in found[0]
    assert found[1] == 12
    assert line_fault("  voice: 'Don\u2019t stop'") is None


async def test_a_list_may_name_an_object_that_is_in_quotes(desk: Desk) -> None:
    desk.write("l.txt", "\u201ca\u201d\n")

    (spec,) = await desk.plan('defaults: {output: {voice: "s"}}\ninputs: [{list: l.txt}]\n')
    assert spec.media.key == "\u201ca\u201d"


def test_the_fault_has_file_line_and_column(desk: Desk) -> None:
    with pytest.raises(ManifestError) as caught:
        desk.load("inputs:\n  - object: \u201ca.mp3\u201d\n")

    (fault,) = caught.value.faults
    assert (fault.line, fault.column) == (5, 13)
