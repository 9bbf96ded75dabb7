"""Matching of files with stems: by the requested names, never by position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.remote import RemoteFile
from orchestrator.domain.spec import AudioMode, JobSpec, Operation, Stem
from orchestrator.runner.verifying.stems import expected_stems, match_stems
from orchestrator.testing.builders import make_spec


def spec_of(mode: AudioMode | None = AudioMode.AUDIO_AND_BACKGROUND, **names: str) -> JobSpec:
    spec = make_spec()
    output = replace(spec.output, **{"voice": "", "background": "", **names})
    return replace(spec, output=output, operation=Operation("" if mode else "t1", mode))


def names(spec: JobSpec, *objects: str, job_id: str = "j1") -> dict[Stem, str]:
    return {
        stem: file.object
        for stem, file in match_stems(spec, job_id, [RemoteFile(name) for name in objects]).items()
    }


def test_stems_are_matched_in_any_order_of_the_answer() -> None:
    spec = spec_of(voice="s/voice.${ext}", background="s/background.${ext}")
    wanted = {Stem.VOICE: "s/voice.mp3", Stem.BACKGROUND: "s/background.mp3"}

    assert names(spec, "s/voice.mp3", "s/background.mp3") == wanted
    assert names(spec, "s/background.mp3", "s/voice.mp3") == wanted


def test_the_job_id_in_a_name_must_be_that_of_the_job() -> None:
    spec = spec_of(voice="s/${jobid}/voice.${Ext}")

    assert names(spec, "s/j1/voice.aac") == {Stem.VOICE: "s/j1/voice.aac"}
    assert names(spec, "s/j2/voice.aac") == {}


def test_a_placeholder_does_not_reach_into_another_folder() -> None:
    assert names(spec_of(voice="s/voice.${ext}"), "s/voice.x/y.mp3") == {}


def test_pattern_characters_in_a_name_match_literally() -> None:
    spec = spec_of(voice="a+b (1)/v.${ext}")

    assert names(spec, "a+b (1)/v.mp3") == {Stem.VOICE: "a+b (1)/v.mp3"}
    assert names(spec, "aab 1/v.mp3") == {}


def test_a_stem_without_a_file_is_left_out() -> None:
    assert names(spec_of(voice="v.${ext}", background="b.${ext}"), "v.mp3", "other.mp3") == {
        Stem.VOICE: "v.mp3"
    }


def test_one_file_is_never_two_stems() -> None:
    assert names(spec_of(voice="s.${ext}", background="${x}.${ext}"), "s.mp3") == {
        Stem.VOICE: "s.mp3"
    }


def test_a_stem_is_expected_if_it_has_a_name_and_the_mode_makes_it() -> None:
    both: dict[str, Any] = {"voice": "v", "background": "b"}

    assert expected_stems(spec_of(**both)) == (Stem.VOICE, Stem.BACKGROUND)
    assert expected_stems(spec_of(AudioMode.IS_AUDIO, **both)) == (Stem.VOICE,)
    assert expected_stems(spec_of(AudioMode.MUSIC_MODE, bass="x")) == (Stem.BASS,)
    assert expected_stems(spec_of(None, **both)) == (), "a template decides for itself"


@given(
    st.permutations(["v-${jobid}.${ext}", "b.${ext}", "bass.${ext}", "drums"]),
    st.permutations(range(4)),
    st.sampled_from(["mp3", "flac"]),
)
def test_four_stems_find_their_files_in_any_order(
    patterns: list[str], order: list[int], ext: str
) -> None:
    spec = spec_of(
        AudioMode.MUSIC_MODE,
        **dict(zip(("voice", "background", "bass", "drums"), patterns, strict=True)),
    )
    made = [pattern.replace("${jobid}", "j7").replace("${ext}", ext) for pattern in patterns]

    assert names(spec, *(made[at] for at in order), job_id="j7") == dict(
        zip(Stem, made, strict=True)
    )
