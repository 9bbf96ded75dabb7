"""Small pieces of music as MIDI files, from our own notes: chords, a bass, a melody, drums."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

TICKS = 480
"""Per quarter note."""
DRUMS = 9
"""Percussion channel of General MIDI."""
KICK, SNARE, HAT = 36, 38, 42


@dataclass(frozen=True)
class Style:
    """Style of a piece.

    Attributes:
        tempo: Quarter notes per minute.
        root: MIDI note of the key.
        chords: Degrees of the scale, one per bar.
        pad: GM program of the chords (from 0), their loudness, and the notes per bar (1: held).
        bass: GM program of the bass, or None.
        lead: GM program of the melody, or None.
        drums: True if a drum kit plays.
    """

    tempo: int
    root: int
    chords: tuple[int, ...]
    pad: tuple[int, int, int]
    bass: int | None = None
    lead: int | None = None
    drums: bool = False


STYLES = {
    "strings": Style(76, 50, (0, 5, 3, 4), (48, 84, 1), bass=43, lead=46),
    "band": Style(112, 52, (0, 4, 5, 3), (27, 78, 8), bass=33, drums=True),
    "piano": Style(92, 48, (0, 3, 5, 4), (0, 80, 4), bass=32, lead=0),
    "guitar": Style(100, 52, (5, 3, 0, 4), (25, 90, 8), bass=32, lead=25),
}
_MAJOR = (0, 2, 4, 5, 7, 9, 11)

Note = tuple[int, int, int, int, int]
"""Start and length in ticks, channel, pitch, loudness."""


def compose(style_name: str, seconds: float, seed: int) -> bytes:
    """Return a MIDI file of at least ``seconds``."""
    style = STYLES[style_name]
    draw = random.Random(seed)  # noqa: S311 - music, not secrets
    bars = int(seconds * style.tempo / 60 / 4) + 2
    notes: list[Note] = []
    for bar in range(bars):
        notes += bar_of(style, style.chords[bar % len(style.chords)], bar * 4 * TICKS, draw)
    programs = {0: style.pad[0], 1: style.bass, 2: style.lead}
    return midi(
        notes,
        style.tempo,
        {channel: program for channel, program in programs.items() if program is not None},
    )


def bar_of(style: Style, degree: int, start: int, draw: random.Random) -> list[Note]:
    """Return the notes of one bar."""
    chord = [pitch(style.root, degree + third) for third in (0, 2, 4)]
    _, loudness, strokes = style.pad
    length = 4 * TICKS // strokes
    notes = [
        (start + stroke * length, length, 0, tone + 12, loudness - draw.randrange(12))
        for stroke in range(strokes)
        for tone in (chord if strokes != 4 or stroke % 2 == 0 else chord[1:])
    ]
    if style.bass is not None:
        notes += [
            (start + beat * TICKS, TICKS, 1, chord[0] - 12 + (7 if beat == 3 else 0), 92)
            for beat in range(0, 4, 2 if style.pad[2] == 1 else 1)
        ]
    if style.lead is not None:
        notes += [
            (start + half * TICKS, TICKS, 2, draw.choice(chord) + 24, 76)
            for half in range(4)
            if draw.random() < 0.7
        ]
    if style.drums:
        notes += [
            (start + half * TICKS // 2, TICKS // 2, DRUMS, HAT, 60 + 12 * (half % 2 == 0))
            for half in range(8)
        ]
        notes += [
            (start + beat * TICKS, TICKS, DRUMS, SNARE if beat % 2 else KICK, 96)
            for beat in range(4)
        ]
    return notes


def pitch(root: int, degree: int) -> int:
    """Return the MIDI number of a note of the major scale."""
    return root + 12 * (degree // 7) + _MAJOR[degree % 7]


def midi(notes: list[Note], tempo: int, programs: dict[int, int]) -> bytes:
    """Return a Standard MIDI File with one track."""
    events = [(0, 0, b"\xff\x51\x03" + (60_000_000 // tempo).to_bytes(3, "big"))]
    events += [(0, 0, bytes([0xC0 | channel, program])) for channel, program in programs.items()]
    for start, length, channel, tone, loudness in notes:
        events.append((start, 2, bytes([0x90 | channel, tone, loudness])))
        events.append((start + length, 1, bytes([0x80 | channel, tone, 0])))
    track, now = b"", 0
    for at, _, message in sorted(events):
        track += variable(at - now) + message
        now = at
    track += variable(TICKS) + b"\xff\x2f\x00"
    return (
        b"MThd"
        + struct.pack(">IHHH", 6, 0, 1, TICKS)
        + b"MTrk"
        + struct.pack(">I", len(track))
        + track
    )


def variable(value: int) -> bytes:
    """Encode a number of variable length."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))
