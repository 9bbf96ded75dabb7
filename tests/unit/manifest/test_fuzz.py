"""Any text and any structure gives a plan or faults, never a traceback and never silence."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.spec import MediaObject
from orchestrator.errors import ManifestError
from orchestrator.manifest import load_manifest
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.schema.inputs import ListInput, PrefixInput
from orchestrator.manifest.sources.item import SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WORDS = """version name service bucket region params defaults inputs rules operation output audio
codec mp3 amr flac samplerate 8000 44100 voice background bass drums audio_mode IsAudio MusicMode
level 2 object prefix list when column matrix callback url no TDMQ limits budget 5% max_failures
deadline 6h window from to 22:00 template_id include exclude user_data {stem} {today} ${ext} ${x}
{ } {a|pad:3} a.mp3 media-1250000000 ap-chongqing local tencent - 晚安 1e400 null ~ * %s a/../b"""
WORDS = st.sampled_from([*_WORDS.split(), "", "x" * 900, "9" * 40, "\x07"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.fixed_dictionaries(
            {},
            optional={
                "audio_mode": WORDS,
                "template_id": WORDS,
                "audio": st.dictionaries(WORDS, WORDS, max_size=3) | VALUES,
            },
        ),
        "output": st.dictionaries(
            st.sampled_from(["voice", "background", "bass", "drums", "bucket", "region"]),
            WORDS,
            max_size=4,
        )
        | VALUES,
        "level": st.sampled_from(["0", "1", "3", 2, "x", None]),
        "user_data": WORDS | VALUES,
        "callback": VALUES,
        "matrix": VALUES,
    },
)
SOURCES = st.builds(
    lambda kind, value, rest: {**rest, kind: value},
    st.sampled_from(["object", "prefix", "list", "objct"]),
    WORDS | st.text(max_size=9),
    SETTINGS,
)
MANIFESTS = st.fixed_dictionaries(
    {"inputs": st.lists(SOURCES | VALUES, max_size=4)},
    optional={
        "version": st.sampled_from([1, 2, "1", None]),
        "bucket": st.sampled_from(["media-1250000000", "x", None]),
        "service": WORDS | VALUES,
        "params": st.dictionaries(WORDS, WORDS, max_size=3) | VALUES,
        "defaults": SETTINGS | VALUES,
        "rules": st.lists(
            st.builds(lambda when, rest: {**rest, "when": when}, VALUES, SETTINGS) | VALUES,
            max_size=2,
        )
        | VALUES,
        "limits": VALUES,
        "budget": VALUES,
        "window": VALUES,
        "report": WORDS,
        "timezone": WORDS,
    },
)
VALID: dict[str, Any] = {
    "version": 1,
    "name": "n",
    "service": {"local": {"root": "r"}},
    "bucket": "media-1250000000",
    "region": "ap-chongqing",
    "timezone": "Asia/Shanghai",
    "params": {"date": "{yesterday}"},
    "defaults": {
        "operation": {
            "audio_mode": "AudioAndBackground",
            "audio": {"codec": "mp3", "samplerate": 44100, "bitrate": 192, "channels": 2},
        },
        "output": {
            "bucket": "out-1250000000",
            "region": "ap-tokyo",
            "voice": "{variant}/{object}.v",
            "background": "{variant}/{object}.b",
        },
        "level": 1,
        "user_data": "{stem|slug} {date}",
        "matrix": {"a": {"operation": {"audio": {"codec": "flac"}}}, "b": {"level": 2}},
    },
    "inputs": [
        {"object": "a.mp3", "etag": "e", "duration_s": 1.5, "size_bytes": 3, "group": "g"},
        {
            "prefix": "in/{date}/",
            "include": ["*.mp3"],
            "exclude": ["*x*"],
            "min_size": "1kB",
            "max_age": "7d",
            "queue_id": "p1",
        },
    ],
    "rules": [
        {
            "when": {
                "object": "*.mp3",
                "prefix": "in/",
                "max_size": "1GB",
                "column": {"genre": "x*"},
            },
            "level": 0,
        }
    ],
    "callback": {"type": "TDMQ", "mq": {"region": "sh", "mode": "Topic", "name": "q"}},
    "limits": {"submit_per_s": 5},
    "retry": {"attempts": 3},
    "budget": {"max_failures": "5%", "deadline": "6h"},
    "window": {"from": "22:00", "to": "06:00", "days": ["mon"]},
    "price": {"per_minute": 0.1, "currency": "CNY"},
    "report": "r/{name}-{run}.jsonl",
}
QUIET = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _plan(path: Path) -> int:
    """Return the number of jobs, with one object for each prefix and list."""
    manifest = load_manifest(path)
    planner = Planner(manifest)
    jobs = 0
    for index, source in enumerate(manifest.inputs):
        stands_in = isinstance(source, PrefixInput | ListInput)
        key = f"some/object-{index}.mp3" if stands_in else getattr(source, "object")  # noqa: B009  # the union has other members
        media = MediaObject(manifest.bucket or "media-1250000000", manifest.region, key)
        jobs += len(planner.specs([SourceItem(media, index, 1, str(path), 1)]))
    return jobs


def _either_plan_or_faults(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        jobs = _plan(path)
    except ManifestError as error:
        jobs, faults = 0, error.faults
    else:
        faults = ()

    assert bool(jobs) != bool(faults)
    assert all(fault.message.endswith((".", ".)")) and fault.file == str(path) for fault in faults)


@QUIET
@given(manifest=MANIFESTS)
def test_any_structure_gives_a_plan_or_faults(tmp_path: Path, manifest: dict[str, Any]) -> None:
    _either_plan_or_faults(
        tmp_path / "fuzz.yaml", yaml.safe_dump(manifest, allow_unicode=True).encode()
    )


@QUIET
@given(data=st.data())
def test_a_valid_manifest_with_one_value_replaced_gives_a_plan_or_faults(
    tmp_path: Path, data: st.DataObject
) -> None:
    manifest = copy.deepcopy(VALID)
    places = list(_places(manifest))
    container, key = data.draw(st.sampled_from(places))
    container[key] = data.draw(VALUES)

    _either_plan_or_faults(
        tmp_path / "fuzz.yaml", yaml.safe_dump(manifest, allow_unicode=True).encode()
    )


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a structure that can hold a value."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


@QUIET
@given(
    text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200)
    | st.text(alphabet="{}[]:-&*!|>'\"#%@` \t\nab1", max_size=80)
)
def test_any_text_gives_a_plan_or_faults(tmp_path: Path, text: str) -> None:
    _either_plan_or_faults(tmp_path / "fuzz.yaml", text.encode())


@QUIET
@given(content=st.binary(max_size=200))
def test_any_bytes_give_a_plan_or_faults(tmp_path: Path, content: bytes) -> None:
    _either_plan_or_faults(tmp_path / "fuzz.yaml", content)


@pytest.mark.parametrize("depth", [100, 50_000])
def test_deep_nesting_is_a_fault_and_not_a_crash(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("inputs: " + "[" * depth + "]" * depth)

    with pytest.raises(ManifestError, match="levels deep"):
        load_manifest(path)
