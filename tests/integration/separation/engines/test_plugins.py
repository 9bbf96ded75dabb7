"""Engines of other packages: found by name, checked, and named when they fail."""

from __future__ import annotations

import importlib
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.domain.engines import EngineChoice
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.errors import ConfigError, EngineMissing
from orchestrator.manifest.engines import identity_of_plugin
from orchestrator.separation.engines.plugins import load_plugin
from orchestrator.separation.errors import EngineFailed, SeparationFailed
from orchestrator.separation.install.installed import check_ready
from orchestrator.separation.separate import SeparationTask, separate_file
from tests.plugins import install, install_example
from tests.whole_stems import whole_stems

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.separation.conftest import Media

HEAD = """
import numpy as np

class Engine:
    runtime = "NumPy"
    stems = ("voice", "drums")

    def separate(self, blocks):
        for block in blocks:
            {work}

def create(threads):
    {start}
    return Engine()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which packages count as installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def add(site: Path, name: str, work: str = "yield {}", start: str = "pass") -> None:
    install(site, name, HEAD.format(work=work, start=start))
    importlib.invalidate_caches()


def task_for(name: str, media: Media, folder: Path) -> SeparationTask:
    source = media.encode(folder / "in.wav", media.tones(1))
    return SeparationTask(
        source,
        {stem: folder / f"{stem}.wav" for stem in (Stem.VOICE, Stem.BACKGROUND)},
        AudioMode.AUDIO_AND_BACKGROUND,
        AudioConfig(codec="wav"),
        EngineChoice(plugin=name),
    )


@pytest.mark.slow
def test_the_example_package_separates(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built and installed like any other; it imports nothing of this program."""
    monkeypatch.syspath_prepend(install_example(tmp_path))
    task = task_for("middle", media, tmp_path)
    result = separate_file(task)
    sound, voice, background = (
        media.decode(path) for path in (task.source, *task.outputs.values())
    )
    middle = sound.mean(axis=1, keepdims=True).repeat(2, axis=1)
    np.testing.assert_allclose(voice, middle, atol=1e-4)
    np.testing.assert_allclose(voice + background, sound, atol=1e-4)
    assert result.engine == "plug-in middle of example-middle-engine 1.2, NumPy"
    assert identity_of_plugin("middle") == "plugin middle example-middle-engine 1.2"


def test_stems_beyond_the_voice_are_taken(site: Path) -> None:
    add(site, "halves", "yield {'voice': block * 0.5, 'drums': (block * 0.25).tolist()}")
    sound = np.random.default_rng(1).uniform(-0.4, 0.4, (5000, 2)).astype(np.float32)
    stems = whole_stems(load_plugin("halves", 1), sound, parts=(Stem.VOICE, Stem.DRUMS))
    for stem, share in ((Stem.VOICE, 0.5), (Stem.DRUMS, 0.25), (Stem.BACKGROUND, 0.25)):
        np.testing.assert_allclose(stems[stem], share * sound, atol=1e-6)


def test_the_identity_of_an_engine_changes_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for version in ("1.0", "1.1"):
        (tmp_path / version).mkdir()
        install(tmp_path / version, "changing", "raise SystemExit('not imported')", version)
        monkeypatch.syspath_prepend(tmp_path / version)
        importlib.invalidate_caches()
        found.append(identity_of_plugin("changing"))
    assert found == ["plugin changing changing 1.0", "plugin changing changing 1.1"]


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("raise KeyError('weights')", "KeyError: 'weights'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("yield {'voice': block}", "KeyError: .*drums"),
        ("yield {'voice': block, 'drums': block[1:]}", r"drums has the shape \(.*, 2\)"),
        ("yield {'voice': block[:, 0], 'drums': block[:, 0]}", r"voice has the shape"),
        ("yield {'voice': block * np.nan, 'drums': block}", "voice has samples that are not num"),
        ("yield [block]", "TypeError"),
        ("yield {'voice': 'loud', 'drums': block}", "ValueError"),
        ("return; yield", "ended before the sound did"),
        ("yield {'voice': block[:9], 'drums': block[:9]}", "ended before the sound did"),
    ],
)
def test_a_failure_is_that_of_the_engine_and_final(
    work: str, words: str, site: Path, media: Media, tmp_path: Path
) -> None:
    """The code is not one of those that are tried again, and no stem is left."""
    name = f"wrong-{zlib.crc32(work.encode())}"
    add(site, name, work)
    task = task_for(name, media, tmp_path)
    with pytest.raises(SeparationFailed, match=words) as failed:
        separate_file(task)
    assert failed.value.code == "EngineFailed"
    assert f"The engine {name} (a plug-in) failed" in failed.value.message
    assert not any(path.exists() for path in task.outputs.values())


def test_a_fault_of_the_input_stays_one(site: Path, media: Media, tmp_path: Path) -> None:
    """An engine that wraps the errors of its input is not blamed for them."""
    add(site, "honest", "yield {'voice': block, 'drums': block}")
    task = task_for("honest", media, tmp_path)
    task.source.write_bytes(task.source.read_bytes()[:40_000])
    with pytest.raises(SeparationFailed) as failed:
        separate_file(task)
    assert failed.value.code == "ResourceNotSupported"


@pytest.mark.parametrize(
    ("name", "start", "words"),
    [
        ("broken", "raise OSError('no weights')", "broken.*OSError: no weights"),
        ("nameless", "Engine.stems = ()", "nameless.*names the stems none; it must name"),
        ("strange", "Engine.stems = ('voice', 'background')", "names the stems voice, background"),
        ("foreign", "Engine.stems = ('vocals',)", "'vocals' is not a valid Stem"),
        ("bare", "return object()", "bare.*has no attribute 'stems'"),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused(
    name: str, start: str, words: str, site: Path
) -> None:
    add(site, name, start=start)
    with pytest.raises(EngineFailed, match=words):
        load_plugin(name, 1)


def test_an_engine_that_is_not_installed_is_named_with_those_that_are(site: Path) -> None:
    add(site, "present")
    with pytest.raises(EngineMissing, match=r"has an engine 'absent'.*there are: .*present"):
        check_ready(EngineChoice(plugin="absent"))
    with pytest.raises(ConfigError, match=r"Did you mean present\?"):
        identity_of_plugin("presnt")
