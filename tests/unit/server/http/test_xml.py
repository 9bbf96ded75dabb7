"""XML is parsed within bounds and without entities, and written well-formed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.server.http.xml import Tree

BOMB = (
    b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>"""
    b"<Request><Tag>&b;</Tag></Request>"
)
EXTERNAL = (
    b"""<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><Request><Tag>&f;</Tag></Request>"""
)
DTD = b"""<!DOCTYPE Request SYSTEM "http://127.0.0.1/x.dtd"><Request/>"""


@pytest.mark.parametrize("body", [BOMB, EXTERNAL, DTD])
def test_document_types_are_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        xml.read(body)

    assert refused.value.code == "InvalidContent"
    assert "document type" in refused.value.message


def test_depth_and_size_are_bounded() -> None:
    with pytest.raises(Refusal):
        xml.read(b"<a>" * 20 + b"</a>" * 20)
    with pytest.raises(Refusal):
        xml.read(b"<a>" + b"<b/>" * 3000 + b"</a>")


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.text("<>/!&;x[]?", max_size=40).map(str.encode)
)
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    codes = {""}
    try:
        xml.read(body)
    except Refusal as refused:
        codes = {refused.code}

    assert codes <= {"", "InvalidContent", "MissingContent"}


@pytest.mark.parametrize(
    "declaration", ["", '<?xml version="1.0" encoding="utf-8"?>', "<?xml version='1.0'?>\n"]
)
def test_the_declaration_may_be_missing(declaration: str) -> None:
    root = xml.read(f"{declaration}<Request><Tag>  歌 </Tag><Empty/></Request>".encode())

    assert xml.value(root, "Tag") == "歌"
    assert xml.value(root, "Empty") == xml.value(root, "Nothing") == ""


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10).map(xml.clean)
TREES: st.SearchStrategy[Tree] = st.recursive(
    TEXT | st.none(),
    lambda inner: (
        st.dictionaries(st.sampled_from(["A", "B", "C"]), inner, max_size=3)
        | st.lists(TEXT, max_size=3)
    ),
    max_leaves=10,
)


@given(tree=st.dictionaries(st.sampled_from(["A", "B", "C"]), TREES, max_size=3))
def test_any_written_document_is_well_formed_and_has_the_same_content(
    tree: dict[str, Tree],
) -> None:
    root = ET.fromstring(xml.document("Root", tree))  # noqa: S314 - our own output, read by another parser

    for name, value in tree.items():
        if isinstance(value, str):
            found = root.findtext(name) or ""
            assert found == value.replace("\r\n", "\n").replace("\r", "\n")
        elif isinstance(value, list):
            assert len(root.findall(name)) == len(value)


def as_tuple(node: xml.Node) -> tuple[str, str, list[object]]:
    return node.tag, (node.text or "").strip(), [as_tuple(inner) for inner in node]


FRAGMENTS = st.sampled_from(
    [
        *("<a>", "</a>", "<b>", "</b>", "<a>x</a>", "<b> y </b>", "<a/>", "<!-- >c< -->", "é"),
        *("<![CDATA[>d<]]>", "<a b='>'>z</a>", "<?p >q<?>", "&amp;", "&#65;", ">", "]]>", "\n "),
        "text",
    ]
)


@given(
    bodies=st.lists(
        st.lists(FRAGMENTS, max_size=5).map(lambda parts: f"<R>{''.join(parts)}</R>"), max_size=6
    )
)
def test_a_body_is_read_the_same_after_any_others(bodies: list[str]) -> None:
    """The texts of a body are put into the tree of an earlier one with the same markup."""

    def seen(body: str) -> object:
        try:
            return as_tuple(xml.read(body.encode()))
        except Refusal as refused:
            return refused.code

    def fresh(body: str) -> object:
        try:
            return as_tuple(ET.fromstring(body))  # noqa: S314 - our own text, read by another parser
        except ET.ParseError:
            return "InvalidContent"

    others = [body.replace("x", "other").replace("text", "<") for body in bodies]

    for body in [*bodies, *others, *reversed(bodies)]:
        assert seen(body) == fresh(body)


def test_bodies_with_the_same_markup_have_their_own_texts() -> None:
    for text in ("one", "two", "a &amp; b", "", "three"):
        root = xml.read(f"<Request><Tag>{text}</Tag><Empty/><Level>1</Level></Request>".encode())

        assert xml.value(root, "Tag") == text.replace("&amp;", "&")
        assert xml.value(root, "Level") == "1"


def test_a_control_character_in_a_known_markup_is_refused() -> None:
    xml.read(b"<Request><Tag>fine</Tag></Request>")

    with pytest.raises(Refusal):
        xml.read(b"<Request><Tag>not\x01fine</Tag></Request>")
