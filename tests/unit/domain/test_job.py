"""Specs, keys and counts of the domain."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.job import Job
from orchestrator.domain.run import Counts
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    Callback,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
    Stem,
    key_of_user_data,
)
from orchestrator.domain.states import OPEN, JobState, Step
from orchestrator.ledger.spec_json import encode_spec, spec_of
from orchestrator.testing.builders import make_spec

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
whole = st.none() | st.integers(0, 2**53)
amounts = st.none() | st.floats(0, 1e9, allow_nan=False)


def built(kind: Any, *fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, *fields)


medias = built(MediaObject, texts, texts, texts, texts, whole, amounts)
operations = built(
    Operation,
    texts,
    st.none() | st.sampled_from(AudioMode),
    built(AudioConfig, st.none() | texts, whole, whole, whole),
)
outputs = built(Output, texts, texts, texts, texts, texts, texts)
callbacks = st.none() | built(Callback, texts, texts, texts, texts, texts, texts)
origins = built(Origin, texts, st.integers(0, 2**31), texts)
specs = built(
    JobSpec,
    texts,
    medias,
    operations,
    outputs,
    st.integers(0, 2),
    texts,
    texts,
    callbacks,
    texts,
    origins,
)


@given(specs)
def test_a_spec_survives_the_ledgers_format(spec: JobSpec) -> None:
    assert spec_of(spec.key, orjson.loads(encode_spec(spec))) == spec


@given(specs, st.booleans(), st.booleans())
def test_an_output_beside_its_input_survives_the_ledgers_format(
    spec: JobSpec, same_bucket: bool, same_region: bool
) -> None:
    media = spec.media
    output = Output(
        media.bucket if same_bucket else "b", media.region if same_region else "r", "voice.mp3"
    )
    beside = JobSpec(spec.key, media, spec.operation, output)

    assert spec_of(spec.key, orjson.loads(encode_spec(beside))) == beside


def test_the_ledgers_format_is_unchanged() -> None:
    """Existing ledgers hold these bytes, so a change needs a new format version."""
    spec = make_spec(
        7, callback=Callback("https://h", "JSON"), level=2, group="films", queue_id="p1"
    )

    assert encode_spec(spec).decode() == (
        '[["media-1250000000","ap-chongqing","incoming/7.mp3",'
        '"00000000000000000000000000000007",219263,null],'
        '["","AudioAndBackground",["mp3",44100,192,2]],null,'
        '["stems/7/voice.mp3","stems/7/background.mp3","",""],'
        '2,"7","p1",["https://h","JSON","","","",""],"films",["backlog.csv",7,"inputs[0]"]]'
    )


def test_each_audio_mode_names_its_stems() -> None:
    assert AudioMode.IS_AUDIO.stems == (Stem.VOICE,)
    assert AudioMode.IS_BACKGROUND.stems == (Stem.BACKGROUND,)
    assert AudioMode.AUDIO_AND_BACKGROUND.stems == (Stem.VOICE, Stem.BACKGROUND)
    assert AudioMode.MUSIC_MODE.stems == tuple(Stem)


def test_an_output_names_only_the_requested_stems_in_the_vendors_order() -> None:
    names = Output("b", "r", drums="d.mp3", voice="v.mp3").names()

    assert list(names.items()) == [(Stem.VOICE, "v.mp3"), (Stem.DRUMS, "d.mp3")]


@given(st.from_regex(r"v1\.[a-z2-7]{1,32}", fullmatch=True), texts)
def test_the_key_is_read_back_from_the_user_data(key: str, user_data: str) -> None:
    spec = make_spec(key=JobKey(key), user_data=user_data)

    assert key_of_user_data(spec.wire_user_data) == key
    assert spec.wire_user_data[len(key) + 1 :] == user_data


def test_fair_shares_are_by_group_or_else_by_source() -> None:
    assert make_spec(group="films").share == "films"
    assert make_spec().share == "inputs[0]"


def test_an_origin_reads_as_a_place_in_a_file() -> None:
    assert str(Origin("l.csv", 7, "inputs[0]")) == "l.csv:7 (inputs[0])"
    assert str(Origin("m.yaml")) == "m.yaml"


def test_counts_add_up() -> None:
    counts = Counts({JobState.PLANNED: 2, JobState.RUNNING: 3, JobState.FAILED: 1}, skipped=4)

    assert (counts.total, counts.of(*OPEN), counts.of(JobState.SUCCEEDED)) == (10, 5, 0)


def test_a_step_changes_the_state_but_not_the_saved_state() -> None:
    job = Job(1, make_spec())
    job.step(Step.SEND)

    assert (job.state, job.saved_state) == (JobState.SUBMITTING, JobState.PLANNED)
