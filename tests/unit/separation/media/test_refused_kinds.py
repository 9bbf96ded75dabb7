"""Files of other kinds are named, with the way to make them usable."""

from __future__ import annotations

import pytest

from orchestrator.separation.media.refused_kinds import name_of_other_kind

OTHERS = {
    "DSF": b"DSD " + bytes(80),
    "DSDIFF": b"FRM8" + bytes(80),
    "MIDI": b"MThd\0\0\0\x06" + bytes(80),
    "XM": b"Extended Module: song" + bytes(80),
    "IT": b"IMPM" + bytes(80),
    "S3M": bytes(44) + b"SCRM" + bytes(80),
    "MOD": b"song".ljust(1080, b"\1") + b"M.K." + bytes(80),
    "GSM": (b"\xd3" + bytes(32)) * 50,
    "RIFX": b"RIFX" + bytes(4) + b"WAVEfmt " + bytes(80),
    "Shorten": b"ajkg\2" + bytes(80),
    "m3u8": b"#EXTM3U\nsong.mp3\n",
    "pls": b"[playlist]\nFile1=song.mp3\n",
    "xspf": b'<?xml version="1.0"?>\n<playlist version="1" xmlns="http://xspf.org/ns/0/">',
    "asx": b'<ASX version="3.0"><entry/></ASX>',
    "DASH": b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
    "ffconcat": b"ffconcat version 1.0\nfile 'a.wav'\n",
    "ZIP": b"PK\x03\x04" + bytes(80),
    "gzip": b"\x1f\x8b\x08" + bytes(80),
    "xz": b"\xfd7zXZ\0" + bytes(80),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(80),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(80),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(80),
    "PDF": b"%PDF-1.7\n" + bytes(80),
    "web page": b"<!DOCTYPE html>\n<html><head/></html>",
    "XML": b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
    "text": "Ein Text, kein Lied; größer als ASCII.\n".encode() * 200,
    "text file": b"\xff\xfe" + "UTF-16 text\n".encode("utf-16-le") * 50,
    "AMR": b"#!AMR\nThis is a text that begins like an AMR file.\n",
    "encrypted": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    + bytes(14)
    + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    + bytes(80),
}
REMEDIES = ("convert", "not a media file", "no sound", "without protection")


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_kind_is_named(name: str) -> None:
    """The sentence has the name of the kind and a remedy."""
    message = name_of_other_kind(OTHERS[name], len(OTHERS[name]))
    assert message is not None
    assert name in message
    assert any(remedy in message for remedy in REMEDIES), message


@pytest.mark.parametrize(
    "head",
    [
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(80),
        b"ID3\4\0\0\0\0\1\0" + bytes(80),
        b"\xff\xfb\x90\x64" + bytes(80),
        b"OggS\0\2" + bytes(80),
        b"fLaC\0\0\0\x22" + bytes(80),
        b"\0\0\0\x20ftypM4A " + bytes(80),
        b"\x1a\x45\xdf\xa3" + bytes(80),
        b"#!AMR\n" + (b"\x3c" + bytes(31)) * 30,
        b"#!AMR-WB\n" + (b"\x44" + bytes(60)) * 30,
        bytes(200),
        b"",
    ],
)
def test_a_media_file_is_not_mistaken(head: bytes) -> None:
    """Everything else is FFmpeg's to judge."""
    assert name_of_other_kind(head, 1_000_000) is None
