"""Planning: keys, layers, names, conflicts."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    Callback,
    MediaObject,
    Operation,
    Output,
)
from orchestrator.errors import ManifestError, PlanError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.planner import Planner, job_key
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk

MEDIA = MediaObject(
    "media-1250000000", "ap-chongqing", "input/a b ü.mp3", "d41d8cd98f00b204e9800998ecf8427e"
)
OPERATION = Operation(
    audio_mode=AudioMode.AUDIO_AND_BACKGROUND, audio=AudioConfig("mp3", 44100, 192, 2)
)
OUTPUT = Output(
    "media-1250000000", "ap-chongqing", "stems/a/voice.${ext}", "stems/a/background.${ext}"
)


# --- identity


@pytest.mark.parametrize(
    ("media", "operation", "output", "key"),
    [
        (MEDIA, OPERATION, OUTPUT, "v1.25ygq6syzt7p7yozmthvqwb2mdqws7ju"),
        (
            MediaObject("b-12345", "ap-beijing", "x"),
            Operation(template_id="t1"),
            Output("b-12345", "ap-beijing", voice="y"),
            "v1.rgwgl5ag4iwq5ycgskio56fsilwel3st",
        ),
        (
            MediaObject("b-12345", "ap-beijing", "x"),
            Operation(),
            Output("b-12345", "ap-beijing", "a", "b", "c", "d"),
            "v1.ziajjte7o5bhf2j7udj6kyjhdsklfz2q",
        ),
    ],
)
def test_job_keys_are_pinned(
    media: MediaObject, operation: Operation, output: Output, key: str
) -> None:
    """A change here makes every job of every ledger new: raise the version instead."""
    assert job_key(media, operation, output) == key


def test_a_job_key_can_be_computed_from_its_documentation() -> None:
    identity = [
        "v1", MEDIA.bucket, MEDIA.region, MEDIA.key, MEDIA.etag, None,
        "AudioAndBackground", "mp3", 44100, 192, 2,
        OUTPUT.bucket, OUTPUT.region, OUTPUT.voice, OUTPUT.background, None, None,
    ]  # fmt: skip
    text = json.dumps(identity, ensure_ascii=False, separators=(",", ":")).encode()
    expected = "v1." + base64.b32encode(hashlib.sha256(text).digest()[:20]).decode().lower()

    assert job_key(MEDIA, OPERATION, OUTPUT) == expected


async def test_reordering_splitting_and_commenting_a_manifest_changes_no_key(
    desk: Desk, output: str
) -> None:
    one = await desk.plan(
        output + "inputs: [{object: a.mp3}, {object: b.mp3, level: 2, user_data: x}]\n"
    )
    other = await desk.plan(
        "# a comment\ninputs:\n  - object: b.mp3  # moved\n"
        + output
        + "limits: {submit_per_s: 3}\n"
    )

    assert other[0].key == one[1].key


async def test_level_user_data_callback_queue_and_group_are_not_part_of_the_key(
    desk: Desk, output: str
) -> None:
    plain = await desk.plan(output + "inputs: [{object: a.mp3}]\n")
    said = await desk.plan(
        output
        + "inputs:\n"
        + "  - {object: a.mp3, level: 1, user_data: u, callback: no, queue_id: p1, group: g}\n"
    )

    assert (
        said[0].level,
        said[0].user_data,
        said[0].callback,
        said[0].queue_id,
        said[0].group,
    ) == (1, "u", Callback(url="no"), "p1", "g")
    assert said[0].key == plain[0].key


async def test_another_version_of_the_object_is_another_job(desk: Desk, output: str) -> None:
    first = await desk.plan(output + "inputs: [{object: a.mp3, etag: aaa}]\n")
    second = await desk.plan(output + "inputs: [{object: a.mp3, etag: '\"bbb\"'}]\n")

    assert first[0].key != second[0].key
    assert second[0].media.etag == "bbb"


# --- layers


async def test_later_layers_override_earlier_ones(desk: Desk) -> None:
    specs = await desk.plan(
        """
defaults:
  operation: {audio: {codec: mp3, bitrate: 192}}
  output: {voice: "s/{object}.v"}
  level: 0
inputs:
  - object: plain.mp3
  - object: rule.mp3
  - object: own.rule.mp3
    level: 0
    operation: {audio: {bitrate: 64}}
rules:
  - when: {object: "*rule.mp3"}
    level: 2
    operation: {audio: {bitrate: 96}}
  - when: {object: "own*"}
    level: 1
"""
    )

    assert [(spec.level, spec.operation.audio.bitrate) for spec in specs] == [
        (0, 192),
        (2, 96),
        (0, 64),
    ]


async def test_a_rule_overrides_a_list_and_a_row_overrides_the_rule(desk: Desk) -> None:
    desk.write("l.csv", "object,level,genre\na.mp3,,talk\nb.mp3,0,talk\nc.mp3,,song\n")
    specs = await desk.plan(
        """
defaults: {output: {voice: "s/{stem}.v"}}
inputs: [{list: l.csv, level: 1}]
rules: [{when: {column: {genre: "ta*"}}, level: 2}]
"""
    )

    assert [spec.level for spec in specs] == [2, 0, 1]


async def test_rules_by_size_never_match_objects_of_unknown_size(desk: Desk) -> None:
    specs = await desk.plan(
        """
defaults: {output: {voice: "s/{stem}.v"}}
inputs: [{object: a.mp3}, {object: b.mp3, size_bytes: 1000}, {object: c.mp3, size_bytes: 999}]
rules: [{when: {min_size: 1kB}, level: 2}]
"""
    )

    assert [spec.level for spec in specs] == [0, 2, 0]


async def test_a_new_codec_drops_inherited_numbers_that_it_does_not_support(
    desk: Desk,
) -> None:
    specs = await desk.plan(
        """
defaults:
  operation: {audio: {codec: mp3, samplerate: 48000, bitrate: 192, channels: 2}}
  output: {voice: "s/{stem}.v"}
inputs:
  - {object: a.flac, operation: {audio: {codec: flac}}}
  - {object: b.amr, operation: {audio: {codec: amr}}}
  - {object: c.mp3, operation: {audio: {codec: MP3}}}
"""
    )

    assert [spec.operation.audio for spec in specs] == [
        AudioConfig("flac", 48000, None, 2),
        AudioConfig("amr", 8000, None, 1),
        AudioConfig("mp3", 48000, 192, 2),
    ]


async def test_template_and_inline_parameters_replace_each_other(
    desk: Desk,
) -> None:
    specs = await desk.plan(
        """
defaults: {operation: {audio: {codec: mp3}}, output: {voice: "s/{stem}.v"}}
inputs:
  - {object: a.mp3, operation: {template_id: t1x}}
  - {object: b.mp3}
rules:
  - {when: {object: "b*"}, operation: {template_id: t1y}}
  - {when: {object: "b*"}, operation: {audio: {codec: wav}}}
"""
    )

    assert specs[0].operation == Operation(template_id="t1x")
    assert specs[1].operation == Operation(audio_mode=AudioMode.IS_AUDIO, audio=AudioConfig("wav"))


@pytest.mark.parametrize(
    ("stems", "mode"),
    [
        ("voice: v", AudioMode.IS_AUDIO),
        ("background: b", AudioMode.IS_BACKGROUND),
        ("voice: v, background: b", AudioMode.AUDIO_AND_BACKGROUND),
        ("voice: v, background: b, bass: s, drums: d", AudioMode.MUSIC_MODE),
    ],
)
async def test_the_mode_follows_from_the_named_outputs(
    desk: Desk, stems: str, mode: AudioMode
) -> None:
    specs = await desk.plan(f"inputs: [{{object: a.mp3, output: {{{stems}}}}}]\n")

    assert specs[0].operation.audio_mode is mode


async def test_names_of_stems_that_the_mode_does_not_make_are_left_out(
    desk: Desk, output: str
) -> None:
    specs = await desk.plan(
        output + "inputs: [{object: a.mp3, operation: {audio_mode: IsAudio}}]\n"
    )

    assert specs[0].output.background == ""


async def test_music_mode_sends_only_the_codec(desk: Desk) -> None:
    specs = await desk.plan(
        """
inputs:
  - object: a.mp3
    operation:
      audio_mode: MusicMode
      audio: {codec: wav, samplerate: 48000, bitrate: 100, channels: 2}
    output: {voice: v, background: b, bass: s, drums: d}
"""
    )

    assert specs[0].operation.audio == AudioConfig("wav")


async def test_a_matrix_makes_one_job_per_variant(desk: Desk) -> None:
    specs = await desk.plan(
        """
defaults:
  output: {voice: "{variant}/{stem}.${ext}"}
  matrix:
    archive: {operation: {audio: {codec: flac}}}
    preview: {operation: {audio: {codec: mp3}}, level: 1}
inputs: [{object: a.wav}]
"""
    )

    assert [(spec.output.voice, spec.operation.audio.codec, spec.level) for spec in specs] == [
        ("archive/a.${ext}", "flac", 0),
        ("preview/a.${ext}", "mp3", 1),
    ]


async def test_stems_may_go_to_another_bucket_and_region(desk: Desk) -> None:
    specs = await desk.plan(
        "inputs: [{object: a.mp3, bucket: in-12345, region: ap-beijing, "
        "output: {bucket: out-12345, region: ap-tokyo, voice: v}}]\n"
    )

    assert (specs[0].media.place, specs[0].output.place) == (
        ("in-12345", "ap-beijing"),
        ("out-12345", "ap-tokyo"),
    )


# --- conflicts


async def test_an_object_named_twice_with_the_same_parameters_is_one_job(
    desk: Desk, output: str
) -> None:
    specs = await desk.plan(
        output
        + "inputs: [{object: a.mp3}, {object: b.mp3}, {object: a.mp3, level: 2}, "
        + "{object: a.mp3, etag: x}]\n"
    )

    assert [spec.media.key for spec in specs] == ["a.mp3", "b.mp3"]


async def test_two_jobs_that_would_write_the_same_object_are_refused_with_both_lines(
    desk: Desk,
) -> None:
    text = 'defaults: {output: {voice: "s/{stem}.mp3"}}\n'
    text += "inputs:\n  - object: x/a.mp3\n  - object: y/a.mp3\n"

    with pytest.raises(PlanError) as caught:
        await desk.plan(text)

    (fault,) = caught.value.faults
    assert (fault.line, fault.path) == (7, "inputs[1]")
    assert "manifest.yaml:6" in fault.message


async def test_outputs_are_compared_with_the_extension_of_the_codec(desk: Desk) -> None:
    text = """
inputs:
  - {object: a.mp3, operation: {audio: {codec: mp3}}, output: {voice: "s.${ext}"}}
  - {object: b.mp3, operation: {audio: {codec: %s}}, output: {voice: "s.mp3"}}
"""
    assert len(await desk.plan(text.replace("s.mp3", "s.flac") % "flac")) == 2
    with pytest.raises(PlanError, match="already written"):
        await desk.plan(text % "mp3")


def _codec_of(text: str, codec: str) -> str:
    audio = f"operation: {{audio: {{codec: {codec}}}}}, " if codec else ""
    return f"inputs: [{{object: a.mp3, {audio}output: {text}}}]\n"


@pytest.mark.parametrize(
    ("output", "codec", "expected"),
    [
        ('{voice: "s/{stem}.wav"}', "", "wav"),
        ('{voice: "s/{stem}.FLAC"}', "", "flac"),
        ('{voice: "s/{stem}.mp3", background: "s/{stem}-b.${ext}"}', "", "mp3"),
        ('{voice: "s/{stem}.{kind}"}', "", "mp3"),
        ('{voice: "s/{stem}.amr"}', "", "amr"),
        ('{voice: "s/{stem}.aac"}', "", None),
        ('{voice: "s/{stem}.m4a"}', "aac", "aac"),
        ('{voice: "s/{stem}.${ext}"}', "", None),
        ('{voice: "s/{stem}.v2"}', "wav", "wav"),
        ('{voice: "s.wav/{stem}"}', "", None),
        ('{voice: "s/{stem}.wav"}', "WAV", "wav"),
    ],
)
async def test_the_codec_follows_from_a_literal_extension(
    desk: Desk, output: str, codec: str, expected: str | None
) -> None:
    (spec,) = await desk.plan("params: {kind: mp3}\n" + _codec_of(output, codec))

    assert spec.operation.audio.codec == expected


@pytest.mark.parametrize(
    ("output", "codec", "words"),
    [
        ('{voice: "s/{stem}.wav"}', "mp3", "Set codec: wav"),
        ('{voice: "s/{stem}.{kind}"}', "wav", "the codec is wav"),
        ('{voice: "s/v.wav", background: "s/b.mp3"}', "", "another stem's name says wav"),
        ('{voice: "s/{stem}.Ogg"}', "", "ends with .Ogg"),
        ('{voice: "s/{stem}.m4a"}', "wav", "the codec is wav"),
        ('{voice: "s/{stem}.mp4"}', "aac", "ends with .mp4"),
    ],
)
async def test_a_codec_that_contradicts_the_extension_is_a_fault(
    desk: Desk, output: str, codec: str, words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        await desk.plan("params: {kind: mp3}\n" + _codec_of(output, codec))


async def test_a_template_of_the_account_decides_the_codec(desk: Desk) -> None:
    text = 'inputs: [{object: a, operation: {template_id: t1}, output: {voice: "s/a.ogg"}}]\n'

    (spec,) = await desk.plan(text)
    assert spec.operation.audio.codec is None


async def test_names_with_a_job_id_never_collide(desk: Desk) -> None:
    specs = await desk.plan(
        'defaults: {output: {voice: "s/${jobid}.mp3"}}\n'
        "inputs: [{object: a.mp3}, {object: b.mp3}, {object: a.mp3}]\n"
    )

    assert len(specs) == 2


@pytest.mark.parametrize(
    "inputs",
    [
        "[{object: a.mp3}, {object: a.aac, output: {voice: y}}]",
        "[{object: a.aac, output: {voice: x}}, {object: a.mp3}]",
    ],
)
async def test_an_output_that_would_overwrite_an_input_is_refused(desk: Desk, inputs: str) -> None:
    with pytest.raises(PlanError, match=r"overwrit|is an output"):
        await desk.plan(f'defaults: {{output: {{voice: "{{stem}}.${{ext}}"}}}}\ninputs: {inputs}\n')


async def test_the_same_name_in_another_bucket_is_another_object(desk: Desk) -> None:
    specs = await desk.plan(
        'defaults: {output: {bucket: out-12345, voice: "{object}"}}\ninputs: [{object: a.mp3}]\n'
    )

    assert specs[0].output.voice == "a.mp3"


async def test_user_data_must_fit_beside_the_key(desk: Desk) -> None:
    fits = 1024 - 36
    specs = await desk.plan(
        f"inputs: [{{object: a.mp3, user_data: {'x' * fits}, output: {{voice: v}}}}]\n"
    )
    assert len(specs[0].wire_user_data) == 1024

    with pytest.raises(PlanError, match="988 fit"):
        await desk.plan(
            f"inputs: [{{object: a.mp3, user_data: {'x' * (fits + 1)}, output: {{voice: v}}}}]\n"
        )


async def test_the_origin_has_file_line_and_source(desk: Desk, output: str) -> None:
    desk.write("l.txt", "a.mp3\n\nb.mp3\n")
    specs = await desk.plan(output + "inputs:\n  - object: c.mp3\n  - list: l.txt\n")

    assert [(spec.origin.line, spec.origin.source) for spec in specs] == [
        (7, "inputs[0]"),
        (1, "inputs[1]"),
        (3, "inputs[1]"),
    ]
    assert specs[2].origin.file.endswith("l.txt")


async def test_a_manifest_without_outputs_is_a_fault_when_loading(desk: Desk) -> None:
    with pytest.raises(ManifestError, match="No output is named"):
        await desk.plan("inputs: [{object: a.mp3}]\n")


async def test_a_collision_names_a_much_earlier_line(desk: Desk, output: str) -> None:
    """The records of early jobs are read back from the scratch."""
    desk.write("l.txt", "".join(f"in/{number}.mp3\n" for number in range(9_000)) + "other/7.mp3\n")
    planner = Planner(
        desk.load(output.replace("{dir}/", "") + "inputs: [{list: l.txt}]\n"), FaultList()
    )
    jobs = sum([len(planner.specs(batch)) async for batch in read(planner.manifest)])

    assert jobs == len(planner) == 9_000
    assert [fault.line for fault in planner.faults.kept] == [9_001]
    assert "l.txt:8 " in planner.faults.kept[0].message
