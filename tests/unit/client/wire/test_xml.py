"""Hostile documents are refused; harmless ones are read, whatever their form."""

from __future__ import annotations

import pytest

from orchestrator.client.wire import xml
from orchestrator.errors import ProtocolError

BOMB = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>'


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "<!DOCTYPE a><a/>",
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1/">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1/">%p;]><a/>',
        "<a>&x;</a>",
    ],
)
def test_document_types_entities_and_external_references_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        xml.parse(text.encode())


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"]
)
def test_another_encoding_cannot_hide_a_document_type(encoding: str) -> None:
    for declaration in ("", f'<?xml version="1.0" encoding="{encoding}"?>'):
        with pytest.raises(ProtocolError):
            xml.parse((declaration + BOMB).encode(encoding))


@pytest.mark.parametrize("declared", ["utf-8", "UTF-8", "gb2312", "iso-8859-1"])
def test_a_reply_is_utf_8_whatever_it_declares(declared: str) -> None:
    assert (
        xml.parse(f'<?xml version="1.0" encoding="{declared}"?><a>音乐</a>'.encode()).text == "音乐"
    )


def test_comments_cdata_and_a_byte_order_mark_are_harmless() -> None:
    root = xml.parse("\ufeff<a><!-- note --><b><![CDATA[x < y]]></b></a>".encode())

    assert xml.text_of(root, "b") == "x < y"
    assert xml.text_of(xml.parse("\ufeff<a><b>x</b></a>".encode()), "b") == "x"


def test_an_oversized_answer_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(xml, "MAX_REPLY_BYTES", 10)

    assert xml.parse(b"<a>123</a>").tag == "a"
    with pytest.raises(ProtocolError, match="larger than 10 bytes"):
        xml.parse(b"<a>1234</a>")


def test_a_very_deep_answer_neither_crashes_nor_lingers() -> None:
    depth = 200_000
    root = xml.parse(b"<a>" * depth + b"</a>" * depth)

    assert root.tag == "a"
    assert xml.text_of(root, "b") == ""
    assert xml.text_of(None, "b") == ""
