"""The vendor's rules on one job, as far as they can be checked before anything is sent.

Sources: the pages "Create voice-separation template" (codecs, sample rates, channels, bitrates, MusicMode) and "Submit VoiceSeparate"
(outputs, wildcards, levels, callbacks), and the COS limits page (object keys). Where the vendor is silent, the comment says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.domain.audio_formats import CODECS, DEFAULT_CODEC, MUSIC_CODECS
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.domain.wording import listed, quoted

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_KEY_BYTES = 850
MAX_USER_DATA_BYTES = 1024
"""Stated for the sibling jobs of VoiceSeparate; printable ASCII, like there."""
WILDCARDS: Final = ("${ext}", "${jobid}")

REGIONS: Final = (
    *(
        "ap-beijing",
        "ap-nanjing",
        "ap-shanghai",
        "ap-guangzhou",
        "ap-chengdu",
        "ap-chongqing",
        "ap-hongkong",
        "ap-singapore",
        "ap-mumbai",
    ),
    *(
        "ap-seoul",
        "ap-bangkok",
        "ap-tokyo",
        "ap-jakarta",
        "ap-beijing-1",
        "na-siliconvalley",
        "na-ashburn",
        "na-toronto",
    ),
    *("eu-frankfurt", "eu-moscow", "sa-saopaulo"),
)
"""Regions of the vendor's pages. Others may come: a region is refused only if it looks like a slip of one of these."""
LEGACY_REGIONS: Final = {
    "cossh": "ap-shanghai", "cosgz": "ap-guangzhou", "cosbj": "ap-beijing", "costj": "ap-beijing-1", "coscd": "ap-chengdu",
    "cossgp": "ap-singapore", "coshk": "ap-hongkong", "cosca": "na-toronto", "cosger": "eu-frankfurt",
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def key_fault(key: str) -> str:
    """What is wrong with an object key, or nothing: 1 to 850 bytes of UTF-8, no control characters, no slash at either end."""
    if not key:
        return "The object name is empty."
    # The common case is decided by string methods, which cost a tenth of the regular expression: three names per job, a million jobs.
    if not (key.isascii() and key.isprintable()) and _CONTROL.search(key):
        return f"The object name {quoted(key)} has a control character, or one that cannot stand in a request. Rename the object."
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        return f"The object name {quoted(key)} has {len(key.encode())} bytes; at most {MAX_KEY_BYTES} are allowed."
    if key[0] == "/":
        return f"The object name {quoted(key)} begins with a slash. Names in a bucket have none in front: remove it."
    if key[-1] == "/":
        return f"The object name {quoted(key)} ends with a slash: that is a folder, not a media object. For its content use prefix."
    if ("/." in key or key[0] == ".") and _DOTS.search(key):
        return f'The object name {quoted(key)} has a part "." or "..", which clients and servers resolve differently. Write it out.'
    return ""


def user_data_fault(wire_text: str, own: str) -> str:
    """What is wrong with the user's data once our key stands before it, or nothing."""
    if not _PRINTABLE.fullmatch(own):
        wrong = next(char for char in own if not " " <= char <= "~")
        way_out = 'The filter slug makes it so: "{stem|slug}".'
        return f"user_data {quoted(own)} has {quoted(wrong)}: only printable ASCII is passed through. {way_out}"
    if len(wire_text) > MAX_USER_DATA_BYTES:
        room = MAX_USER_DATA_BYTES - (len(wire_text) - len(own))
        return f"user_data has {len(own)} bytes; {room} fit beside the job key (the service takes {MAX_USER_DATA_BYTES} in all)."
    return ""


def audio_faults(audio: AudioConfig, mode: AudioMode | None) -> list[tuple[str, str]]:
    """What is wrong with how stems are encoded, as pairs of the setting's name and a sentence."""
    faults: list[tuple[str, str]] = []
    codec = audio.codec or DEFAULT_CODEC
    if mode is AudioMode.MUSIC_MODE and codec not in MUSIC_CODECS:
        faults.append(("codec", f"MusicMode gives {listed(MUSIC_CODECS)}, not {codec}."))
    said = codec if audio.codec else f"{codec} (the service's default)"
    if audio.samplerate is not None and audio.samplerate not in CODECS[codec].samplerates_hz:
        allowed = listed(CODECS[codec].samplerates_hz)
        faults.append(
            (
                "samplerate",
                f"The codec {said} has no sample rate {audio.samplerate}. Allowed: {allowed} Hz.",
            )
        )
    if audio.channels is not None and audio.channels not in CODECS[codec].channels:
        allowed = listed(CODECS[codec].channels)
        faults.append(
            (
                "channels",
                f"The codec {said} cannot have {audio.channels} channels. Allowed: {allowed}.",
            )
        )
    return faults


def complete_audio(audio: AudioConfig, mode: AudioMode | None) -> AudioConfig:
    """What is really sent.

    amr gets its only sample rate and channel count (the service's default rate is wrong for it); MusicMode ignores all but the codec.
    """
    if mode is AudioMode.MUSIC_MODE:
        return AudioConfig(codec=audio.codec)
    if audio.codec == "amr":
        return AudioConfig("amr", audio.samplerate or 8000, audio.bitrate, audio.channels or 1)
    return audio


def mode_for(stems: Collection[Stem]) -> AudioMode | None:
    """The mode that makes exactly these stems, or None: how ``audio_mode`` follows from the named outputs."""
    return next((mode for mode in AudioMode if set(mode.stems) == set(stems)), None)


def stem_faults(mode: AudioMode | None, named: Collection[Stem]) -> list[tuple[str, str]]:
    """What is wrong with the named outputs, as pairs of output name and sentence.

    The service wants at least a voice or a background name. What it does with a stem that it makes and that has no name is not
    documented, so every stem of the mode must have one.
    """
    if mode is not None:
        missing = [stem.value for stem in mode.stems if stem not in named]
        if missing:
            makes = listed((stem.value for stem in mode.stems), "and")
            return [
                (
                    missing[0],
                    f"{mode.value} makes {makes}, but no output is named for {listed(missing, 'and')}. {_way_out(named)}",
                )
            ]
    elif Stem.VOICE not in named and Stem.BACKGROUND not in named:
        return [
            (
                "",
                "Neither voice nor background is named under output; the service wants at least one of them.",
            )
        ]
    return []


def _way_out(named: Collection[Stem]) -> str:
    fitting = mode_for(named)
    return f"Name it, or use audio_mode: {fitting.value}." if fitting else "Name it under output."
