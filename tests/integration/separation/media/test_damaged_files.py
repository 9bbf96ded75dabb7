"""Damaged files never crash or hang a worker, and never succeed with less than what is there.

Hypothesis damages headers and packets of the demo media and of field files. Another process
decodes them, because a crash in FFmpeg ends the process that it happens in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEDIA = sorted((REPOSITORY / "manifests/media/demo-1250000000/input").iterdir())
FIELD = sorted((REPOSITORY / "tests/media/field").iterdir())
SMALL = [path for path in [*MEDIA, *FIELD] if path.stat().st_size < 450_000]
LIMIT_S = 60
"""A file of some seconds that takes longer counts as a hang."""
HEADER_BYTES = 600
LESS_ALLOWED_S = 0.3
"""FFmpeg's program keeps padding and repeated sound, and conceals some damage differently."""
FFMPEG = shutil.which("ffmpeg")


class Decoding:
    """The other process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.integration.separation.media.decoding"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )

    def outcome(self, path: Path) -> dict[str, Any]:
        """Decode a file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        watchdog = threading.Timer(LIMIT_S, self._process.kill)
        watchdog.start()
        answer = self._process.stdout.readline()
        watchdog.cancel()
        assert answer, f"the process crashed, or was stopped after {LIMIT_S} s"
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def decoding() -> Iterator[Decoding]:
    process = Decoding()
    yield process
    process.close()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a file, and change bytes of its header, bytes of its packets, or its length."""
    source = draw(st.sampled_from(SMALL))
    content = bytearray(source.read_bytes())
    size = len(content)
    header = st.integers(0, min(size, HEADER_BYTES) - 1)
    anywhere = st.integers(0, size - 1)
    for at in draw(st.lists(header, max_size=4)):
        content[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    for at in draw(st.lists(anywhere, max_size=8)):
        content[at] ^= 1 << draw(st.integers(0, 7))
    start, count = draw(anywhere), draw(st.sampled_from([0, 0, 1, 188, 5000]))
    match draw(st.sampled_from(["keep", "drop", "double", "blank", "cut"])):
        case "drop":
            del content[start : start + count]
        case "double":
            content[start:start] = content[start : start + count]
        case "blank":
            content[start : start + count] = bytes(count)
        case "cut":
            del content[max(start, 1) :]
        case _:
            pass
    return source.name, bytes(content)


def by_ffmpeg_s(path: Path) -> float:
    """Return the length of the sound that FFmpeg's own program decodes."""
    assert FFMPEG is not None
    command = [FFMPEG, "-nostdin", "-v", "quiet", "-i", str(path), "-map", "0:a:0"]
    done = subprocess.run(
        [*command, "-f", "s16le", "-ac", "1", "-ar", "8000", "-"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    return len(done.stdout) / 2 / 8000


def overlap_s(notes: list[str]) -> float:
    """Return the sound that was cut because its time stamps overlap."""
    found = re.search(r"overlaps? in the time stamps \(([\d.]+) s", " ".join(notes))
    return float(found[1]) if found else 0.0


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(file=damaged())
def test_a_damaged_file_is_separated_whole_or_refused(
    file: tuple[str, bytes], decoding: Decoding, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The worker lives, the answer is final, and success means all of the sound."""
    name, content = file
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(content)
    found = decoding.outcome(path)
    if "code" in found:
        assert found["code"] == "ResourceNotSupported", found
        assert "could not be read (" not in found["message"], found
    elif FFMPEG is not None:
        whole_s = by_ffmpeg_s(path)
        assert found["length_s"] + overlap_s(found["notes"]) >= whole_s - LESS_ALLOWED_S, found
