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
