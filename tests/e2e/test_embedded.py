"""A run with the embedded service: one real file in, two stems out that add up to it."""

from __future__ import annotations

import math
import os
import re
import shutil
import struct
import wave
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir, installed_engine
from tests.demucs_models import SHARES, write_shares
from tests.e2e.playground import BUCKET, Playground
from tests.mdx_models import IDENTITY, write_model
from tests.plugins import install_example
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.engine]
RATE_HZ = 44_100


def write_tone(path: Path, seconds: float = 1.0) -> None:
    """Write a short WAV file with a different tone on each side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        tones = (
            math.sin(2 * math.pi * hz * at / RATE_HZ)
            for at in range(int(seconds * RATE_HZ))
            for hz in (220, 330)
        )
        out.writeframes(b"".join(struct.pack("<h", int(12_000 * tone)) for tone in tones))


def samples(path: Path) -> tuple[int, ...]:
    with wave.open(str(path), "rb") as source:
        raw = source.readframes(source.getnframes())
    return struct.unpack(f"<{len(raw) // 2}h", raw)


@pytest.fixture
def alone(tmp_path: Path) -> Playground:
    """Return a folder whose manifests use the embedded service, without credentials."""
    place = Playground(tmp_path)
    place.environment = {
        "TENCENTCLOUD_SECRET_ID": None,
        "TENCENTCLOUD_SECRET_KEY": None,
        CACHE_VARIABLE: str(cache_dir()),
    }
    return place


def test_a_real_file_becomes_two_stems_that_add_up_to_it_and_broken_inputs_fail_alone(
    alone: Playground,
) -> None:
    bucket = alone.folder / "media" / BUCKET
    write_tone(bucket / "in/tone.wav")
    (bucket / "in/broken.mp3").write_bytes(os.urandom(4000))
    alone.write(
        "in/tone.wav",
        "in/broken.mp3",
        "in/gone.mp3",
        service={"local": {"root": "media"}},
        defaults={
            "operation": {
                "audio_mode": "AudioAndBackground",
                "audio": {"codec": "wav", "samplerate": 44100, "channels": 2},
            },
            "output": {
                "voice": "stems/{stem}/voice.${ext}",
                "background": "stems/{stem}/background.${ext}",
            },
        },
    )

    done = alone.run(limit_s=120)

    assert done.code == 1, done.err
    rows = {row["input"]["object"]: row for row in alone.rows()}
    assert {name: row["state"] for name, row in rows.items()} == {
        "in/tone.wav": "succeeded",
        "in/broken.mp3": "failed",
        "in/gone.mp3": "failed",
    }
    assert all(
        rows[name]["code"] and rows[name]["message"] for name in ("in/broken.mp3", "in/gone.mp3")
    )
    assert rows["in/tone.wav"]["media_duration_s"] == pytest.approx(1.0, abs=0.05)
    mixture, voice, background = (
        samples(bucket / name)
        for name in ("in/tone.wav", "stems/tone/voice.wav", "stems/tone/background.wav")
    )
    assert len(voice) == len(background) == len(mixture)
    assert (
        max(
            abs(one + other - both)
            for one, other, both in zip(voice, background, mixture, strict=True)
        )
        <= 2
    )


def test_another_engine_separates_and_a_change_of_it_makes_every_job_new(
    alone: Playground,
) -> None:
    """The default engine is not needed; its files count, not their names."""
    bucket = alone.folder / "media" / BUCKET
    write_tone(bucket / "in/tone.wav", 0.5)
    alone.environment[CACHE_VARIABLE] = str(alone.folder / "no-engine-here")
    model = write_model(alone.folder, IDENTITY / 4)
    operation = {
        "audio_mode": "AudioAndBackground",
        "audio": {"codec": "wav", "samplerate": 44100, "channels": 2},
    }
    output = {"voice": "stems/voice.wav", "background": "stems/background.wav"}
    changes = {
        "service": {"local": {"root": "media"}},
        "defaults": {"operation": operation, "output": output},
        "engine": {"model": model.name},
    }
    alone.write("in/tone.wav", **changes)

    done = alone.run(limit_s=60)

    assert done.code == 0, done.err
    mixture, voice = (samples(bucket / name) for name in ("in/tone.wav", "stems/voice.wav"))
    assert max(abs(4 * one - both) for one, both in zip(voice, mixture, strict=True)) <= 4

    model = model.rename(model.with_name("renamed.onnx"))
    model.with_name("small.json").rename(model.with_suffix(".json"))
    alone.write("in/tone.wav", **{**changes, "engine": {"model": model.name}})
    assert alone.run(limit_s=60).code == 0
    assert {row["state"] for row in alone.rows()} <= {"skipped"}, "a name is not part of a job"
    settings = model.with_suffix(".json")
    settings.write_text(settings.read_text().replace("}", ', "compensate": 2}'))
    assert alone.run(limit_s=60).code == 0
    assert [row["state"] for row in alone.rows()] == ["succeeded"]
    louder = samples(bucket / "stems/voice.wav")
    assert max(abs(2 * one - both) for one, both in zip(louder, mixture, strict=True)) <= 4

    settings.unlink()
    refused = alone.run(limit_s=60)
    assert refused.code == 2
    assert "renamed.json" in refused.err


def test_the_report_says_what_was_done_with_unusual_sound(alone: Playground) -> None:
    bucket = alone.folder / "media" / BUCKET
    (bucket / "in").mkdir(parents=True)
    for name in ("gap-3s.mp4", "aac-and-apac.mov", "cut50.webm"):
        shutil.copy(REPOSITORY / "tests/media/field" / name, bucket / "in" / name)
    write_tone(bucket / "in/plain.wav", 0.3)
    names = ("gap-3s.mp4", "aac-and-apac.mov", "cut50.webm", "plain.wav")
    alone.write(*(f"in/{name}" for name in names), service={"local": {"root": "media"}})

    done = alone.run(limit_s=120)

    assert done.code == 1, done.err
    rows = {row["input"]["object"].removeprefix("in/"): row for row in alone.rows()}
    assert {name: rows[name]["state"] for name in names} == {
        "gap-3s.mp4": "succeeded",
        "aac-and-apac.mov": "succeeded",
        "cut50.webm": "failed",
        "plain.wav": "succeeded",
    }
    assert "1 hole in the time stamps (3.00 s in all)" in rows["gap-3s.mp4"]["message"]
    assert "track 1 was separated" in rows["aac-and-apac.mov"]["message"]
    assert rows["cut50.webm"]["code"] == "ResourceNotSupported"
    assert rows["cut50.webm"]["attempts"] == 1
    assert rows["plain.wav"]["message"] == ""


def test_without_the_engine_no_job_is_sent_and_the_command_that_installs_it_is_named(
    alone: Playground,
) -> None:
    write_tone(alone.folder / "media" / BUCKET / "in/tone.wav", 0.2)
    alone.write("in/tone.wav", service={"local": {"root": "media"}})
    alone.environment[CACHE_VARIABLE] = str(alone.folder / "no-engine-here")

    done = alone.run(limit_s=60)

    assert done.code == 2
    assert "orchestrator fetch-engine" in done.err
    assert alone.reports() == []


def test_music_mode_makes_four_stems_with_a_demucs_file(alone: Playground) -> None:
    """Voice, background, bass and drums come out of one run, and add up to the input."""
    bucket = alone.folder / "media" / BUCKET
    write_tone(bucket / "in/tone.wav", 0.5)
    alone.environment[CACHE_VARIABLE] = str(alone.folder / "no-engine-here")
    model = write_shares(alone.folder / "four.onnx")
    names = ("drums", "bass", "background", "voice")  # in the order of the file's shares
    alone.write(
        "in/tone.wav",
        service={"local": {"root": "media"}},
        defaults={
            "operation": {"audio_mode": "MusicMode", "audio": {"codec": "wav"}},
            "output": {name: f"stems/{name}.wav" for name in names},
        },
        engine={"model": model.name},
    )

    done = alone.run(limit_s=60)

    assert done.code == 0, done.err
    mixture = samples(bucket / "in/tone.wav")
    for name, share in zip(names, SHARES.tolist(), strict=True):
        stem = samples(bucket / f"stems/{name}.wav")
        assert max(abs(one - share * both) for one, both in zip(stem, mixture, strict=True)) <= 2
    (row,) = alone.rows()
    assert {file["stem"] for file in row["files"]} == set(names)


@pytest.mark.slow
def test_an_engine_of_another_package_separates_and_its_version_counts(
    alone: Playground, tmp_path: Path
) -> None:
    bucket = alone.folder / "media" / BUCKET
    write_tone(bucket / "in/tone.wav", 0.5)
    site = install_example(tmp_path)
    alone.environment |= {
        CACHE_VARIABLE: str(alone.folder / "no-engine-here"),
        "PYTHONPATH": str(site),
    }
    operation = {
        "audio_mode": "AudioAndBackground",
        "audio": {"codec": "wav", "samplerate": 44100, "channels": 2},
    }
    changes = {
        "service": {"local": {"root": "media"}},
        "defaults": {
            "operation": operation,
            "output": {"voice": "stems/voice.wav", "background": "stems/background.wav"},
        },
    }
    alone.write("in/tone.wav", **changes, engine={"plugin": "middle"})
    done = alone.run(limit_s=60)
    assert done.code == 0, done.err
    voice, mixture = (samples(bucket / name) for name in ("stems/voice.wav", "in/tone.wav"))
    assert len(voice) == len(mixture)

    for name in site.glob("*.dist-info/METADATA"):
        name.write_text(name.read_text().replace("Version: 1.2", "Version: 1.3"))
    assert alone.run(limit_s=60).code == 0
    assert [row["state"] for row in alone.rows()] == ["succeeded"], "a new version, a new job"

    alone.write("in/tone.wav", **changes, engine={"plugin": "midle"})
    refused = alone.run(limit_s=60)
    assert refused.code == 2
    assert "has an engine" in refused.err
    assert "Did you mean middle?" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["engine", "library"])
def test_a_run_ends_with_the_reason_if_its_engine_can_never_be_loaded(
    alone: Playground, tmp_path: Path, broken: str
) -> None:
    """What is installed looks whole until a worker loads it."""
    write_tone(alone.folder / "media" / BUCKET / "in/tone.wav", 0.5)
    site = install_example(tmp_path)
    name = "middle_engine" if broken == "engine" else "av"
    (site / f"{name}.py").write_text("raise ImportError('libsound.so: cannot open')")
    alone.environment |= {"PYTHONPATH": str(site)}
    alone.write("in/tone.wav", service={"local": {"root": "media"}}, engine={"plugin": "middle"})

    done = alone.run(limit_s=60)

    (row,) = alone.rows()
    assert done.code == 1
    assert row["state"] == "failed"
    assert row["code"] == ("EngineFailed" if broken == "engine" else "EngineNotInstalled")
    assert "libsound.so: cannot open" in row["message"]
    assert row["message"] in done.err.replace("\n", " ")
    assert row["attempts"] == 1


@pytest.mark.parametrize("verb", [["validate"], ["plan"], ["run", "--dry-run"], ["run"]])
def test_a_model_file_that_cannot_be_used_is_a_fault_of_the_manifest(
    alone: Playground, verb: list[str]
) -> None:
    """No verb that looks ahead accepts what a run refuses; each names file, line and remedy."""
    write_tone(alone.folder / "media" / BUCKET / "in/tone.wav", 0.5)
    weights = alone.folder / "weights.onnx"
    shutil.copyfile(installed_engine(cache_dir()), weights)
    alone.write("in/tone.wav", service={"local": {"root": "media"}}, engine={"model": weights.name})

    done = alone.do(verb[0], alone.path.name, *verb[1:])

    assert done.code == 2
    assert re.search(r"album.yaml:\d+:\d+: engine.model: .* the default engine", done.err)
    assert not (alone.folder / ".orchestrator").exists()


def test_a_plan_says_what_this_machine_lacks_for_the_run(alone: Playground) -> None:
    """The plan is made all the same: it may be for another machine."""
    write_tone(alone.folder / "media" / BUCKET / "in/tone.wav", 0.5)
    alone.write("in/tone.wav", service={"local": {"root": "media"}})
    alone.environment[CACHE_VARIABLE] = str(alone.folder / "no-engine-here")

    plan, run = alone.do("plan", alone.path.name), alone.run()

    assert (plan.code, run.code) == (0, 2)
    said = run.err.removeprefix("orchestrator: ").strip()
    assert f"A run would be refused now. {said}" in " ".join(plan.out.split())
