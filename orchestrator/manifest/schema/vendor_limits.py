"""The vendor's rules for one job, as far as they can be checked before anything is sent.

Sources: the vendor's page "Submit VoiceSeparate" (outputs, wildcards, levels, callbacks) and the
COS limits page (object keys). Codecs are in ``domain.audio_formats``. A comment marks what the
vendor does not document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.domain.audio_formats import CODECS, DEFAULT_CODEC, MUSIC_CODECS
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.domain.wording import counted, listed, quoted

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_KEY_BYTES = 850
MAX_USER_DATA_BYTES = 1024
"""Stated for the sibling jobs of VoiceSeparate; printable ASCII, like there."""
WILDCARDS: Final = ("${ext}", "${jobid}")

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def key_fault(key: str) -> str:
    """Return what is wrong with an object key, or an empty text.

    A key has 1 to 850 bytes of UTF-8, no control characters, no slash at either end and no part
    that is empty, "." or "..".
    """
    if not key:
        return "The object name is empty."
    # String methods decide the common case. They cost a tenth of the regular expression, and a
    # million jobs have three million names.
    if not (key.isascii() and key.isprintable()) and (found := _CONTROL.search(key)):
        if "\udc80" <= found[0] <= "\udcff":  # a byte of a name that is not UTF-8
            fault = f"is not UTF-8 (byte 0x{ord(found[0]) & 0xFF:02x}). Rename the object"
            return f"The object name {quoted(key)} {fault}."
        fault = "contains a character that a request cannot carry. Rename the object"
    elif len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        fault = f"has {len(key.encode())} bytes; at most {MAX_KEY_BYTES} are allowed"
    elif key[0] == "/":
        fault = "begins with a slash. Object names have no leading slash: remove it"
    elif "//" in key:
        fault = (
            'has "//", an empty part, which clients and servers resolve differently. Rename the '
            "object"
        )
    elif key[-1] == "/":
        fault = "ends with a slash: it is a folder, not a media object. Use prefix for its content"
    elif ("/." in key or key[0] == ".") and _DOTS.search(key):
        fault = (
            'has a part "." or "..", which clients and servers resolve differently. Write it out'
        )
    else:
        return ""
    return f"The object name {quoted(key)} {fault}."


def user_data_fault(wire_text: str, own: str) -> str:
    """Return what is wrong with the user's data after our key, or an empty text."""
    if not _PRINTABLE.fullmatch(own):
        wrong = next(char for char in own if not " " <= char <= "~")
        return (
            f"user_data {quoted(own)} contains {quoted(wrong)}, but only printable ASCII is "
            'allowed. The filter slug converts it: "{stem|slug}".'
        )
    if len(wire_text) > MAX_USER_DATA_BYTES:
        room = MAX_USER_DATA_BYTES - (len(wire_text) - len(own))
        return (
            f"user_data has {len(own)} bytes; {room} fit beside the job key "
            f"(the service accepts {MAX_USER_DATA_BYTES} in total)."
        )
    return ""


def audio_faults(audio: AudioConfig, mode: AudioMode | None) -> list[tuple[str, str]]:
    """Return what is wrong with the audio settings, as pairs of a setting's name and a message."""
    faults: list[tuple[str, str]] = []
    codec = audio.codec or DEFAULT_CODEC
    if mode is AudioMode.MUSIC_MODE and codec not in MUSIC_CODECS:
        faults.append(("codec", f"MusicMode makes {listed(MUSIC_CODECS)}, not {codec}."))
    shown = codec if audio.codec else f"{codec} (the service's default)"
    if audio.samplerate is not None and audio.samplerate not in CODECS[codec].samplerates_hz:
        allowed = listed(CODECS[codec].samplerates_hz)
        message = f"The codec {shown} does not support {audio.samplerate} Hz."
        faults.append(("samplerate", f"{message} Allowed: {allowed} Hz."))
    if audio.channels is not None and audio.channels not in CODECS[codec].channels:
        allowed = listed(CODECS[codec].channels)
        message = f"The codec {shown} does not support {counted(audio.channels, 'channel')}."
        faults.append(("channels", f"{message} Allowed: {allowed}."))
    return faults


def complete_audio(audio: AudioConfig, mode: AudioMode | None) -> AudioConfig:
    """Return the settings to send.

    amr gets its only sample rate and channel count, because the service's default rate is wrong for
    it. MusicMode ignores all settings except the codec.
    """
    if mode is AudioMode.MUSIC_MODE:
        return AudioConfig(codec=audio.codec)
    if audio.codec == "amr":
        return AudioConfig("amr", audio.samplerate or 8000, audio.bitrate, audio.channels or 1)
    return audio


def mode_for(stems: Collection[Stem]) -> AudioMode | None:
    """Return the mode that makes exactly these stems, or None."""
    return next((mode for mode in AudioMode if set(mode.stems) == set(stems)), None)


def stem_faults(mode: AudioMode | None, named: Collection[Stem]) -> list[tuple[str, str]]:
    """Return what is wrong with the named outputs, as pairs of an output's name and a message.

    The service requires a voice or a background name. It does not document what happens to a stem
    without a name, so every stem of the mode must have one.
    """
    if mode is not None:
        missing = [stem.value for stem in mode.stems if stem not in named]
        if missing:
            makes = listed((stem.value for stem in mode.stems), "and")
            fitting = mode_for(named)
            action = f", or use audio_mode: {fitting.value}" if fitting else " under output"
            message = f"{mode.value} makes {makes}, but output has no name for"
            message = (
                f"{message} {listed(missing, 'and')}. Add {'it' if len(missing) == 1 else 'them'}"
            )
            return [(missing[0], f"{message}{action}.")]
    elif Stem.VOICE not in named and Stem.BACKGROUND not in named:
        message = "output names neither voice nor background; the service requires one of them."
        return [("", message)]
    return []
