"""Measure the quality of engines: how close their stems are to the true ones, and what leaks.

Without options it compares the default engine in all its runtimes and precisions on the demo
files. With --folder it takes mixtures of your own, with --engine other engines:

    scripts/bench quality --folder ~/musdb/test --engine models/voc_ft.onnx --engine default

A folder holds mixtures and their true stems in one of two forms, in any format:

* NAME.wav with NAME.voice.wav and, if you have it, NAME.background.wav
* NAME/mixture.wav with NAME/vocals.wav and, if you have them, bass.wav and drums.wav (the form of
  MUSDB18)

Columns, in decibels; each is the mean over all files:

* SI-SDR: scale-invariant signal-to-distortion ratio of the stem; gain: how much more that is than
  the mixture has.
* SDR: that of BSS Eval, if fast-bss-eval is installed: .venv/bin/pip install fast-bss-eval
* leaks: the voice that an engine finds in the background alone, and the background that it finds in
  the voice alone, each relative to its input. Lower is better.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - after the path

from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice  # noqa: E402
from orchestrator.domain.spec import Stem  # noqa: E402
from orchestrator.errors import EngineMissing  # noqa: E402
from orchestrator.separation.cores import usable_cores  # noqa: E402
from orchestrator.separation.engines.interface import split  # noqa: E402
from orchestrator.separation.engines.loading import load_engine  # noqa: E402
from orchestrator.separation.engines.network import (  # noqa: E402
    PRECISION_VARIABLE,
    RUNTIME_VARIABLE,
)
from orchestrator.separation.errors import EngineFailed, SeparationFailed  # noqa: E402
from orchestrator.separation.install.installed import installed_engine  # noqa: E402
from orchestrator.separation.media.container import open_media  # noqa: E402
from orchestrator.separation.media.decode import Decoder  # noqa: E402
from tests.quality import level_db, sdr_db, si_sdr_db  # noqa: E402

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block, Engine

VARIANTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("default", {}),
    ("default, OpenVINO f32", {RUNTIME_VARIABLE: "openvino", PRECISION_VARIABLE: "f32"}),
    ("default, onnxruntime", {RUNTIME_VARIABLE: "onnxruntime"}),
)
NAMES = {
    Stem.VOICE: ("voice", "vocals"),
    Stem.BACKGROUND: ("background", "accompaniment"),
    Stem.BASS: ("bass",),
    Stem.DRUMS: ("drums",),
}


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture, and the files of its true stems."""

    name: str
    path: Path
    stems: dict[Stem, Path]


@dataclass(frozen=True, slots=True)
class Result:
    """Quality of one stem of one file."""

    engine: str
    file: str
    stem: str
    si_sdr_db: float
    gain_db: float
    sdr_db: float | None
    leak_db: float | None = None


def main() -> int:
    """Separate all files with all engines, and print a table."""
    arguments = parsed()
    mixtures = found(arguments.folder) if arguments.folder else demo()
    mixtures = mixtures[: 2 if arguments.quick else None]
    if not mixtures:
        print(f"no mixture with a true voice in {arguments.folder}; see --help", file=sys.stderr)
        return 2
    engines: list[tuple[str, EngineChoice, dict[str, str]]]
    engines = [(name, chosen(name), {}) for name in arguments.engine] or [
        (name, DEFAULT_ENGINE, variables) for name, variables in VARIANTS
    ]
    results = []
    for name, choice, variables in engines:
        os.environ.update(variables)
        try:
            engine = load_engine(choice, usable_cores(), installed_engine)
        except (EngineMissing, EngineFailed) as error:
            print(f"{name}: left out. {error}", file=sys.stderr)
            if arguments.engine:
                return 2
        else:
            shown = f"{name} ({engine.runtime})"
            for mixture in mixtures:
                results += measured(shown, engine, mixture)
        for variable in variables:
            del os.environ[variable]
    rows = [asdict(result) for result in results]
    print(json.dumps(rows) if arguments.json else table(results, each=arguments.files))
    return 0


def measured(name: str, engine: Engine, mixture: Mixture) -> list[Result]:
    """Separate one mixture, and its voice and its background alone."""
    sound = decoded(mixture.path)
    truth = {stem: fitted(decoded(path), len(sound)) for stem, path in mixture.stems.items()}
    truth.setdefault(Stem.BACKGROUND, sound - truth[Stem.VOICE])
    stems = separated(engine, sound, (Stem.VOICE,))
    more = tuple(stem for stem in (Stem.BASS, Stem.DRUMS) if stem in truth and stem in engine.stems)
    if more:
        rest = separated(engine, sound, more)
        stems |= {stem: rest[stem] for stem in more}
    leaks = {
        stem: level_db(separated(engine, truth[other], (Stem.VOICE,))[stem], truth[other])
        for stem, other in ((Stem.VOICE, Stem.BACKGROUND), (Stem.BACKGROUND, Stem.VOICE))
    }
    results = []
    for stem, estimate in stems.items():
        true = truth[stem]
        after = si_sdr_db(estimate, true)
        gain = after - si_sdr_db(sound, true)
        sdr = sdr_db(estimate, true)
        results.append(Result(name, mixture.name, stem, after, gain, sdr, leaks.get(stem)))
    return results


def separated(engine: Engine, sound: Block, parts: tuple[Stem, ...]) -> dict[Stem, Block]:
    """Separate a sound, and return its whole stems: the parts, and the background."""
    pieces = list(split(engine, [sound], parts))
    return {stem: np.concatenate([piece[stem] for piece in pieces]) for stem in pieces[0]}


def fitted(sound: Block, length: int) -> Block:
    """Return a sound of the length: cut, or followed by silence."""
    return np.pad(sound[:length], ((0, max(length - len(sound), 0)), (0, 0)))


def decoded(path: Path) -> Block:
    """Return the whole sound of a file."""
    with open_media(path) as container:
        return np.concatenate(list(Decoder(path, container).blocks()))


def demo() -> list[Mixture]:
    """Return the demo files of the repository."""
    stems = ROOT / "tests/media"
    return [
        Mixture(path.name, path, true_stems(stems, f"{path.stem}."))
        for path in sorted((ROOT / "manifests/media/demo-1250000000/input").iterdir())
    ]


def found(folder: Path) -> list[Mixture]:
    """Return the mixtures of a folder that have a true voice."""
    mixtures = []
    for path in sorted(folder.expanduser().rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue
        prefix = "" if path.stem.lower() == "mixture" else f"{path.stem}."
        stems = true_stems(path.parent, prefix)
        if Stem.VOICE in stems and path not in stems.values():
            name = str(path.relative_to(folder.expanduser()))
            mixtures.append(Mixture(name, path, stems))
    return mixtures


def true_stems(folder: Path, prefix: str) -> dict[Stem, Path]:
    """Return the files of the true stems of one mixture, by their names."""
    stems = {}
    files = {path.stem.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    for stem, names in NAMES.items():
        for name in names:
            if path := files.get(f"{prefix}{name}".lower()):
                stems[stem] = path
    return stems


def chosen(name: str) -> EngineChoice:
    """Return the engine of an option."""
    if name == "default":
        return DEFAULT_ENGINE
    if name.startswith("plugin:"):
        return EngineChoice(plugin=name.removeprefix("plugin:"))
    return EngineChoice(Path(name).expanduser())


def table(results: list[Result], *, each: bool) -> str:
    """Return the means of each engine, and with ``each`` the figures of every file."""
    lines = [f"{'stem':<11} {'SI-SDR':>7} {'gain':>7} {'SDR':>7} {'leaks':>7}  file"]
    for engine in dict.fromkeys(result.engine for result in results):
        lines.append(engine)
        own = [result for result in results if result.engine == engine]
        for stem in dict.fromkeys(result.stem for result in own):
            group = [result for result in own if result.stem == stem]
            lines += [line(stem, [result], result.file) for result in group if each]
            lines.append(line(stem, group, f"mean of {len(group)}"))
    if all(result.sdr_db is None for result in results):
        lines.append("SDR is left out: run .venv/bin/pip install fast-bss-eval")
    return "\n".join(lines)


def line(stem: str, results: list[Result], name: str) -> str:
    """Return the mean of some results as a line."""
    figures = []
    for field in ("si_sdr_db", "gain_db", "sdr_db", "leak_db"):
        values = [getattr(result, field) for result in results]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        figures.append(f"{mean(finite):>7.2f}" if finite else f"{'-':>7}")
    return f"  {stem:<9} {' '.join(figures)}  {name}"


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="mixtures with their true stems")
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="FILE|plugin:NAME|default",
        help="an engine; may be given several times",
    )
    parser.add_argument("--files", action="store_true", help="also show every file")
    parser.add_argument("--quick", action="store_true", help="take the first two files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SeparationFailed as error:
        sys.exit(f"a file cannot be read: {error}")
