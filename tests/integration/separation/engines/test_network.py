"""Both runtimes compute the same network, and neither talks to the network."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.domain.engines import DEFAULT_ENGINE
from orchestrator.domain.spec import Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.demucs import DemucsEngine, DemucsModel
from orchestrator.separation.engines.loading import load_engine, recognise
from orchestrator.separation.engines.network import (
    DEVICE_VARIABLE,
    PRECISION_VARIABLE,
    RUNTIME_VARIABLE,
    Device,
    OnnxNetwork,
    OpenVinoNetwork,
    Unusable,
    Wish,
    load_network,
)
from orchestrator.separation.engines.spleeter import BINS, FRAMES, SpleeterEngine, load_spleeter
from orchestrator.separation.install.spleeter_graph import build_network
from tests.demucs_models import SAMPLES, write_shares
from tests.quality import si_sdr_db
from tests.whole_stems import whole_stems

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.separation.engines.interface import Engine
    from orchestrator.separation.engines.network import Network
    from tests.integration.separation.conftest import Checkpoints, Media

HAS_OPENVINO = find_spec("openvino") is not None
HAS_ONNXRUNTIME = find_spec("onnxruntime") is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is not installed")
needs_onnxruntime = pytest.mark.skipif(not HAS_ONNXRUNTIME, reason="onnxruntime is not installed")
SHAPE = (1, 2, FRAMES, BINS)
WISH = Wish(((2, FRAMES, BINS),), 1)
TWO_THREADS = Wish(WISH.shapes, 2)


@pytest.fixture
def model(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """Return a narrow network with random weights, quick to load and to run."""
    path = tmp_path / "small.onnx"
    path.write_bytes(build_network(checkpoints.random((2, 2, 2, 2, 2, 2, 2)), {}))
    return path


def _magnitude() -> np.ndarray:
    return np.abs(np.random.default_rng(5).standard_normal(SHAPE)).astype(np.float32)


@needs_openvino
def test_openvino_is_taken_where_it_is_installed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    network = load_network(model, WISH)
    assert network.runtime.startswith("OpenVINO 20")
    assert network.runtime.endswith("threads: 1")


@needs_onnxruntime
def test_without_openvino_onnxruntime_is_taken(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    network = load_network(model, WISH)
    assert network.runtime.startswith("onnxruntime 1.")
    assert network.stream()([_magnitude()])[0].shape == SHAPE


@needs_openvino
@needs_onnxruntime
def test_both_runtimes_agree_to_110_db(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRECISION_VARIABLE, "f32")
    masks = {}
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setenv(RUNTIME_VARIABLE, name)
        network = load_network(model, TWO_THREADS)
        assert "f32" in network.runtime
        (masks[name],) = network.stream()([_magnitude()])
    assert float(np.std(masks["openvino"])) > 0.05  # a flat mask would prove nothing
    assert si_sdr_db(masks["openvino"], masks["onnxruntime"]) > 110


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openvino", marks=needs_openvino),
        pytest.param("onnxruntime", marks=needs_onnxruntime),
    ],
)
def test_a_result_stays_valid_while_the_next_one_is_computed(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next stage reads a mask while the network works on the next block."""
    monkeypatch.setenv(RUNTIME_VARIABLE, name)
    compute = load_network(model, WISH).stream()
    values = _magnitude()
    (first,) = compute([values])
    kept = first.copy()
    values[:] = 1
    (second,) = compute([values])
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)


def _network(name: str, model: Path, wish: Wish, device: Device) -> Network:
    network: Network
    if name == "openvino":
        network = OpenVinoNetwork(model, wish, device)
    else:
        network = OnnxNetwork(model, wish, device)
    return network


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        pytest.param("openvino", "CPU", marks=needs_openvino),
        pytest.param("onnxruntime", "CPUExecutionProvider", marks=needs_onnxruntime),
    ],
)
def test_batches_give_the_same_stems(name: str, processor: str, model: Path, media: Media) -> None:
    """A GPU gets several blocks at a time, here the processor; the last batch is not full."""
    wish = Wish(WISH.shapes, 1, f32_only=True, is_batch_free=True)
    sound = media.tones(15)
    voices = []
    for batch in (1, 3):
        network = _network(name, model, wish, Device(processor, batch))
        assert network.batch == batch
        voices.append(whole_stems(SpleeterEngine(network), sound)[Stem.VOICE])
    assert float(np.std(voices[0])) > 0.01
    np.testing.assert_allclose(voices[0], voices[1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        pytest.param("openvino", "CPU", marks=needs_openvino),
        pytest.param("onnxruntime", "CPUExecutionProvider", marks=needs_onnxruntime),
    ],
)
@pytest.mark.parametrize(("batch", "expected"), [("batch", 3), (1, 1)])
def test_a_file_with_an_open_batch_gets_several_chunks_at_a_time(
    name: str, processor: str, batch: str | int, expected: int, tmp_path: Path
) -> None:
    """One that states a batch of one gets one chunk at a time, on every device."""
    found = recognise(write_shares(tmp_path / "a.onnx", batch=batch))
    assert isinstance(found, DemucsModel)
    wish = Wish(((2, found.samples),), 1, f32_only=True, is_batch_free=found.is_batch_free)
    network = _network(name, found.path, wish, Device(processor, 3))
    assert network.batch == expected
    sound = np.random.default_rng(2).uniform(-0.4, 0.4, (5 * SAMPLES, 2)).astype(np.float32)
    stems = whole_stems(DemucsEngine(network, found, None), sound, parts=(Stem.VOICE, Stem.DRUMS))
    np.testing.assert_allclose(stems[Stem.VOICE], 0.4 * sound, atol=2e-6)
    np.testing.assert_allclose(stems[Stem.DRUMS], 0.1 * sound, atol=2e-6)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_gpu_of_this_machine_gives_the_stems_of_the_processor(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is skipped where there is none."""
    monkeypatch.setenv(RUNTIME_VARIABLE, name)
    monkeypatch.setenv(DEVICE_VARIABLE, "gpu")
    wish = Wish(WISH.shapes, 1, f32_only=True, is_batch_free=True)
    try:
        gpu = load_network(model, wish)
    except (EngineMissing, Unusable) as error:
        pytest.skip(f"no GPU: {error}")
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu")
    cpu = load_network(model, wish)
    values = np.abs(np.random.default_rng(5).standard_normal((gpu.batch, *SHAPE[1:])))
    (fast,) = gpu.stream()([values.astype(np.float32)])
    slow = np.concatenate([cpu.stream()([row[np.newaxis]])[0] for row in values.astype(np.float32)])
    assert si_sdr_db(fast, slow) > 60


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openvino", marks=needs_openvino),
        pytest.param("onnxruntime", marks=needs_onnxruntime),
    ],
)
def test_a_damaged_file_is_refused_with_the_remedy(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that ends too early is refused; the runtime's own complaints are not shown."""
    monkeypatch.setenv(RUNTIME_VARIABLE, name)
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineMissing, match=r"damaged.*orchestrator fetch-engine"):
        load_spleeter(model, 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.engine
@needs_openvino
def test_the_fast_precision_loses_less_than_a_tenth_of_a_decibel(
    engine_file: Path, media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gain is that of f32, on the mono file, which loses most, and on two others."""
    monkeypatch.setenv(RUNTIME_VARIABLE, "openvino")
    engines = [SpleeterEngine(load_network(engine_file, TWO_THREADS))]
    if "bf16" not in engines[0].runtime:
        pytest.skip("this processor computes with f32 only")
    monkeypatch.setenv(PRECISION_VARIABLE, "f32")
    engines.append(SpleeterEngine(load_network(engine_file, TWO_THREADS)))
    losses_db = []
    for demo in media.demo:
        if demo.mixture.name not in {"memo.wav", "lecture.mp3", "interview.flac"}:
            continue
        mixture = media.decode(demo.mixture)
        fast, exact = (whole_stems(engine, mixture) for engine in engines)
        for stem, truth in ((Stem.VOICE, demo.voice), (Stem.BACKGROUND, demo.background)):
            true = media.decode(truth)[: len(mixture)]
            cut = slice(len(true))
            losses_db.append(si_sdr_db(exact[stem][cut], true) - si_sdr_db(fast[stem][cut], true))
        np.testing.assert_allclose(fast[Stem.VOICE] + fast[Stem.BACKGROUND], mixture, atol=1e-6)
    assert len(losses_db) == 6
    assert max(losses_db) < 0.1
    assert mean(losses_db) < 0.03


def test_the_engine_is_kept_until_its_threads_or_its_file_change(model: Path) -> None:
    """The memory of one engine is used at a time."""

    def load(threads: int) -> Engine:
        return load_engine(DEFAULT_ENGINE, threads, lambda: model)

    engine = load(1)
    assert load(1) is engine
    assert load(2) is not engine
    engine = load(1)
    os.utime(model, (1, 1))
    assert load(1) is not engine


GUARD = """
import ctypes, struct
# A filter of the kernel: socket() of any family but AF_UNIX ends the process.
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, 41), (0x20, 0, 0, 16), (0x15, 1, 0, 1),
         (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0, ctypes.get_errno()
"""
"""Sees native code as well, which a guard within Python does not."""

WORK = """
import sys
from pathlib import Path
import numpy as np
from orchestrator.separation.engines.demucs import DemucsEngine, DemucsModel
from orchestrator.separation.engines.loading import recognise
from orchestrator.separation.engines.network import Device, Unusable, Wish
from orchestrator.separation.engines.network import OnnxNetwork
from orchestrator.separation.engines.network import OpenVinoNetwork
from orchestrator.separation.engines.network import load_network
from orchestrator.separation.engines.demucs import DemucsEngine, DemucsModel
from orchestrator.separation.engines.loading import recognise
from orchestrator.separation.engines.network import Device, Unusable, Wish
from orchestrator.separation.engines.network import OnnxNetwork
from orchestrator.separation.engines.network import OpenVinoNetwork
compute = load_network(Path(sys.argv[1]), Wish(((2, 512, 1536),), 2)).stream()
print(compute([np.ones((1, 2, 512, 1536), np.float32)])[0].shape)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the filter is for Linux"
)
@pytest.mark.parametrize(
    ("runtime", "proof"),
    [
        pytest.param("openvino", 'print(sys.modules["openvino_telemetry"])', marks=needs_openvino),
        pytest.param("onnxruntime", 'print(sys.modules.get("openvino"))', marks=needs_onnxruntime),
    ],
)
def test_a_runtime_opens_no_connection_and_leaves_no_statistics(
    model: Path, tmp_path: Path, runtime: str, proof: str
) -> None:
    """Import, loading and work use no socket; no file of a statistics client appears."""
    # Each of these switches the statistics of onnxruntime off.
    off = ("CI", "ORT_DISABLE_TELEMETRY")
    env = {name: value for name, value in os.environ.items() if name not in off}
    env |= {"HOME": str(tmp_path / "home"), RUNTIME_VARIABLE: runtime}
    (tmp_path / "home").mkdir()

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", GUARD + code, str(model)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run(WORK + proof)
    assert (done.returncode, done.stdout) == (0, "(1, 2, 512, 1536)\nNone\n"), done.stderr
    assert not list((tmp_path / "home").iterdir())
    caught = run("import socket; socket.socket()")
    assert caught.returncode == -31, caught  # SIGSYS: the guard sees a socket
