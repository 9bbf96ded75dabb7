"""Loading: params, includes, services, and the resulting manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.engines import EngineChoice
from orchestrator.errors import ManifestError
from orchestrator.manifest import (
    EndpointSettings,
    LocalServiceSettings,
    TencentSettings,
    load_manifest,
)
from orchestrator.manifest.schema.manifest_file import Allowance

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk

INPUT = "inputs: [{object: a.mp3, output: {voice: v}}]\n"


def test_defaults_match_the_documentation(desk: Desk) -> None:
    manifest = desk.load(INPUT)

    assert (manifest.name, manifest.service, manifest.window) == (
        "manifest",
        LocalServiceSettings(None),
        None,
    )
    assert manifest.limits.model_dump() == {
        "submit_per_s": 20,
        "query_per_s": 20,
        "in_flight": 500,
        "connections": 64,
        "timeout_s": 60,
    }
    assert manifest.retry.model_dump() == {
        "attempts": 6,
        "initial_s": 0.5,
        "cap_s": 60,
        "settle_s": 30,
    }
    assert manifest.report == str(desk.folder / "reports/{run}.jsonl")


def test_budget_durations_and_shares_are_read(desk: Desk) -> None:
    budget = desk.load(
        INPUT + "budget: {max_failures: 2.5%, max_cost: 40, deadline: 1h30m}\n"
    ).budget

    assert (budget.max_failures, budget.max_cost, budget.deadline_s) == (
        Allowance(percent=2.5),
        40,
        5400,
    )
    assert desk.load(INPUT + "budget: {max_failures: 7}\n").budget.max_failures == Allowance(
        count=7
    )


@pytest.mark.parametrize(
    ("said", "override", "expected"),
    [
        ("tencent", None, TencentSettings()),
        ("tencent", "local", LocalServiceSettings(None)),
        ("local", "tencent", TencentSettings()),
        (
            "{ci: 'http://127.0.0.1:1', cos: 'http://127.0.0.1:2'}",
            None,
            EndpointSettings("http://127.0.0.1:1", "http://127.0.0.1:2"),
        ),
        ("{ci: 'http://127.0.0.1:1', cos: 'http://127.0.0.1:2'}", "tencent", TencentSettings()),
        ("{local: }", None, LocalServiceSettings(None)),
    ],
)
def test_the_service_of_the_manifest_can_be_overridden(
    desk: Desk, said: str, override: str | None, expected: object
) -> None:
    assert desk.load(INPUT + f"service: {said}\n", service=override).service == expected


def test_the_local_root_is_relative_to_the_manifest_and_stays_when_overridden(desk: Desk) -> None:
    text = INPUT + "service: {local: {root: ../media}}\n"

    assert desk.load(text).service == LocalServiceSettings(desk.folder / "../media")
    assert desk.load(text, service="local").service == LocalServiceSettings(
        desk.folder / "../media"
    )


def test_only_the_local_service_has_a_default_region(desk: Desk) -> None:
    head = "bucket: media-1250000000\n"

    assert desk.load(INPUT, head=head).region == "ap-chongqing"
    with pytest.raises(ManifestError, match="No region"):
        desk.load(INPUT, head=head, service="tencent")


def test_params_know_today_in_the_manifests_time_zone(desk: Desk) -> None:
    text = INPUT + 'params: {date: "{today}", before: "{yesterday}"}\n'

    assert desk.load(text).params["date"] == "2026-11-22"
    params = desk.load(text + "timezone: Asia/Shanghai\n").params
    assert (params["date"], params["before"]) == ("2026-11-23", "2026-11-22")


def test_a_date_a_number_and_the_word_no_stay_text_in_params(desk: Desk) -> None:
    params = desk.load(
        INPUT + "params: {a: 2026-11-22, b: 007, c: no, d: 1.10, e: 22:30, f: 0x1F, g: true}\n"
    ).params

    assert [params[name] for name in "abcdefg"] == [
        "2026-11-22",
        "007",
        "no",
        "1.10",
        "22:30",
        "0x1F",
        "true",
    ]


def test_set_overrides_params_and_sets_those_without_a_value(desk: Desk) -> None:
    text = INPUT + "params: {date: 2026-11-22, who: }\n"

    params = desk.load(text, {"date": "2025-01-01", "who": "me"}).params
    assert (params["date"], params["who"]) == ("2025-01-01", "me")
    with pytest.raises(ManifestError, match="--set who=VALUE"):
        desk.load(text)
    with pytest.raises(ManifestError, match=r'no param "dat".*Did you mean "date"'):
        desk.load(text, {"dat": "x", "who": "me"})


async def test_params_are_filled_in_everywhere(desk: Desk) -> None:
    desk.write("l-x.txt", "c.mp3\n")
    specs = await desk.plan(
        """
params: {p: x, t: t1abc}
defaults: {output: {voice: "{p}/{stem}.v", bucket: "{p}-12345"},
           operation: {template_id: "{t}"}, queue_id: "{p}q",
           group: "{p}g", user_data: "{p}"}
inputs: [{object: "{p}/a.mp3"}, {object: "b{{1}}.mp3", bucket: "in{p}-12345"}, {list: "l-{p}.txt"}]
report: "{p}/{name}-{run}.jsonl"
"""
    )

    assert [spec.media.key for spec in specs] == ["x/a.mp3", "b{1}.mp3", "c.mp3"]
    assert specs[1].media.bucket == "inx-12345"
    first = specs[0]
    assert (first.output.bucket, first.output.voice, first.operation.template_id) == (
        "x-12345",
        "x/a.v",
        "t1abc",
    )
    assert (first.queue_id, first.group, first.user_data) == ("xq", "xg", "x")


async def test_a_manifest_overrides_its_includes_and_their_inputs_come_first(desk: Desk) -> None:
    desk.write(
        "team/deep.yaml", "limits: {submit_per_s: 1, in_flight: 7}\nparams: {a: deep, b: deep}\n"
    )
    desk.write("team/l.txt", "listed.mp3\n")
    desk.write(
        "team/base.yaml",
        "include: deep.yaml\nlimits: {submit_per_s: 2}\nparams: {a: base}\n"
        'defaults:\n  output: {voice: "s/{stem}.v"}\n'
        "  operation: {audio: {codec: mp3, bitrate: 192}}\n"
        'inputs: [{list: l.txt}]\nrules: [{when: {object: "*"}, level: 1}]\n',
    )
    text = (
        "include: [team/base.yaml]\ndefaults: {operation: {audio: {bitrate: 96}}}\n"
        "inputs:\n  - object: own.mp3\n"
    )
    text += 'rules: [{when: {object: "own*"}, level: 2}]\n'
    manifest = desk.load(text)
    specs = await desk.plan(text)

    assert (
        manifest.limits.submit_per_s,
        manifest.limits.in_flight,
        manifest.params["a"],
        manifest.params["b"],
    ) == (2, 7, "base", "deep")
    assert [(spec.media.key, spec.level, spec.operation.audio.bitrate) for spec in specs] == [
        ("listed.mp3", 1, 96),
        ("own.mp3", 2, 96),
    ]
    assert (Path(specs[1].origin.file).name, specs[1].origin.line) == ("manifest.yaml", 7)


def test_a_fault_in_an_included_file_names_that_file(desk: Desk) -> None:
    desk.write("base.yaml", "inputs:\n  - object: a.mp3\n    levl: 1\n")

    with pytest.raises(ManifestError, match=r"base\.yaml:3:5: inputs\[0\]\.levl"):
        desk.load("include: base.yaml\ninputs: [{object: b.mp3}]\n")


def test_files_that_include_each_other_are_refused(desk: Desk) -> None:
    desk.write("base.yaml", "include: manifest.yaml\n")

    with pytest.raises(ManifestError, match="includes itself"):
        desk.load("include: base.yaml\n" + INPUT)


def test_anchors_and_merge_keys_work_and_keep_their_places(desk: Desk) -> None:
    manifest = desk.load(
        """
defaults: {output: {voice: "s/{stem}.v"}}
inputs:
  - &first {object: a.mp3, level: 1, operation: {audio: {codec: flac}}}
  - <<: *first
    object: b.mp3
"""
    )

    assert [source.level for source in manifest.inputs] == [1, 1]
    for source in manifest.inputs:
        assert source.operation is not None
        assert source.operation.audio is not None
        assert source.operation.audio.codec == "flac"
    assert manifest.files.where(("inputs", 1, "level"))[1].line == 7
    assert manifest.files.item("inputs", 1)[1] == 8


def test_max_faults_limits_the_faults_and_counts_the_rest(desk: Desk) -> None:
    path = desk.write("many.yaml", "inputs:\n" + "  - {object: a.mp3, levl: 1}\n" * 100)

    with pytest.raises(ManifestError) as caught:
        load_manifest(path, max_faults=3)
    assert (len(caught.value.faults), caught.value.omitted) == (3, 97)
    assert str(caught.value).endswith("... and 97 more")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "empty"),
        (b"a: \xff", "not UTF-8"),
        (b"\x00", "is not allowed"),
    ],
)
def test_a_file_that_is_not_text_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "m.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ManifestError, match=words):
        load_manifest(path)
    with pytest.raises(ManifestError, match="is a folder"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("service", ["tencent", None])
def test_a_profile_of_the_vendors_tool_can_be_named(desk: Desk, service: str | None) -> None:
    text = "service: {tencent: {profile: archive}}\n" + INPUT

    manifest = desk.load(text, service=service)

    assert not manifest.is_local
    assert manifest.profile == "archive"
    assert desk.load(text, service="local").profile is None
    assert desk.load("service: tencent\n" + INPUT).profile is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{profile: ../../x}", '"../../x" is not a profile name'),
        ("{profil: x}", 'Did you mean "profile"?'),
        ("{profile: x, secret_key: y}", "must not contain secrets"),
    ],
)
def test_a_wrong_profile_is_a_fault(desk: Desk, settings: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        desk.load(f"service: {{tencent: {settings}}}\n" + INPUT)

    assert said in str(caught.value)


def test_an_engine_belongs_to_the_local_service_and_its_content_to_every_job(
    desk: Desk, output: str
) -> None:
    """Its path starts at the file that names it; other services ignore it."""
    text = f"engine: {{model: models/a.onnx}}\n{output}inputs: [{{object: in/a.mp3}}]\n"
    desk.write("models/a.onnx", b"network")
    desk.write("models/a.json", b"{}")
    hashes = set()
    for content in (b"{}", b'{"compensate": 2}'):
        desk.write("models/a.json", content)
        service = desk.load(text, service="local").service
        assert isinstance(service, LocalServiceSettings)
        assert service.engine == EngineChoice(desk.folder / "models/a.onnx")
        hashes.add(service.engine_identity)
    (desk.folder / "models/a.json").unlink()
    for content in (b"network", b"another network"):
        desk.write("models/a.onnx", content)
        service = desk.load(text, service="local").service
        assert isinstance(service, LocalServiceSettings)
        hashes.add(service.engine_identity)
    assert len(hashes) == 4
    assert isinstance(desk.load(text, service="tencent").service, TencentSettings)


def test_an_engine_that_cannot_be_read_is_a_fault_at_its_place(desk: Desk, output: str) -> None:
    text = f"engine: {{model: absent.onnx}}\n{output}inputs: [{{object: in/a.mp3}}]\n"
    with pytest.raises(ManifestError, match=r"absent\.onnx cannot be read: there is no such file"):
        desk.load(text, service="local")
