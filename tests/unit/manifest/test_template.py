"""Templates."""

from __future__ import annotations

import pytest

from orchestrator.manifest.template import Template, TemplateError, object_name, parts_of, slug


def test_placeholders_are_filled_in_and_wildcards_of_the_service_stay() -> None:
    template = Template("stems/{dir}/{stem}/voice.${ext}-${jobid}")

    assert template.render({"dir": "a/b", "stem": "c"}) == "stems/a/b/c/voice.${ext}-${jobid}"


def test_double_braces_and_percent_signs_are_plain_text() -> None:
    assert Template("{{x}} 100% {a}").render({"a": "%s{b}"}) == "{x} 100% %s{b}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a|lower}", "über song #1"),
        ("{a|upper}", "ÜBER SONG #1"),
        ("{a|slug}", "uber-song-1"),
        ("{n|pad:4}", "0007"),
        ("{d|date:%Y/%j}", "2026/326"),
    ],
)
def test_filters_change_what_is_filled_in(text: str, expected: str) -> None:
    assert Template(text).render({"a": "Über Song #1", "n": "7", "d": "2026-11-22"}) == expected


def test_filters_are_applied_from_left_to_right() -> None:
    assert Template("{a|slug|upper}").render({"a": "x y"}) == "X-Y"


def test_slugs_of_names_without_latin_letters_stay_different() -> None:
    assert slug("晚安") != slug("早安")
    assert slug("晚安").isascii()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "}",
        "{}",
        "{a",
        "a}",
        "{a b}",
        "${x}",
        "${}",
        "{a|}",
        "{a|pad}",
        "{a|pad:0}",
        "{a|lower:1}",
        "{a|date:%H}",
        "{a{b}}",
    ],
)
def test_a_wrong_template_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(TemplateError, match=r"\w+ .*\."):
        Template(text)


def test_an_unknown_name_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TemplateError) as caught:
        Template("{stme}").check(["stem", "dir"])

    assert caught.value.hint == "stem"


def test_a_date_filter_refuses_other_text() -> None:
    with pytest.raises(TemplateError, match="needs a date"):
        Template("{a|date:%Y}").render({"a": "soon"})


def test_filling_some_names_keeps_the_others_and_escapes_braces_of_values() -> None:
    left = Template("{p}/{stem|lower}.${ext}{{x}}").fill({"p": "a{b}"})

    assert left.render({"stem": "S"}) == "a{b}/s.${ext}{x}"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a/b/c.tar.gz", ("a/b", "c.tar.gz", "c.tar", "gz")),
        ("top.mp3", ("", "top.mp3", "top", "mp3")),
        ("a/noext", ("a", "noext", "noext", "")),
        ("a/.hidden", ("a", ".hidden", ".hidden", "")),
        ("dot.d/file", ("dot.d", "file", "file", "")),
    ],
)
def test_parts_of_an_object_name(key: str, expected: tuple[str, str, str, str]) -> None:
    parts = parts_of(key)

    assert (parts["dir"], parts["name"], parts["stem"], parts["ext"]) == expected


def test_an_empty_folder_leaves_no_double_or_leading_slash() -> None:
    assert object_name("stems//a///b") == "stems/a/b"
    assert object_name("//a") == "a"
