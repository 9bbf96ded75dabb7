"""Make the demo media and the true stems of the tests: a synthetic voice over our own music.

Needs ``espeak-ng``, ``fluidsynth`` and a General MIDI soundfont (MIT-licensed). On Debian:
``apt-get install espeak-ng fluidsynth fluid-soundfont-gm``. The results are committed, so the
script is only needed to change them; run it with the project's own Python. The mixtures go to
``manifests/media``, the stems to ``tests/media``. The texts and notes are our own, and all results
are under this project's licence.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import demo_files
import demo_music
import numpy as np
import numpy.typing as npt

from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder

ROOT = Path(__file__).resolve().parent.parent
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
INPUTS = ROOT / "manifests/media/demo-1250000000/input"
STEMS = ROOT / "tests/media"
RATE_HZ = 44100
PEAK = 0.9

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """One demo file.

    Attributes:
        name: File name; its suffix selects the container.
        seconds: Length.
        voice: espeak-ng voice, with its variant.
        words_per_minute: Speed of the voice.
        pitch: espeak-ng pitch, 0-99.
        music: Name of a style in ``demo_music.STYLES``.
        ratio_db: Level of the voice above the music (RMS, during speech).
        text: Spoken text.
    """

    name: str
    seconds: float
    voice: str
    words_per_minute: int
    pitch: int
    music: str
    ratio_db: float
    text: str


PIECES = (
    Piece(
        "trailer.mp3",
        9.0,
        "en-us+m3",
        150,
        40,
        "strings",
        1.0,
        "In a library of a million recordings, every single one has a voice. "
        "Tonight, they will all be heard, one after the other.",
    ),
    Piece(
        "podcast.m4a",
        9.0,
        "en-gb+f3",
        160,
        55,
        "band",
        2.0,
        "Welcome back to the night shift. Today we talk about queues: "
        "who goes first, who waits, and why nobody should pay twice.",
    ),
    Piece(
        "memo.wav",
        6.0,
        "en-us+m1",
        165,
        45,
        "piano",
        2.0,
        "Note to myself: send the tapes to the archive, and keep the music for the opening scene.",
    ),
    Piece(
        "interview.flac",
        6.4,
        "es+f2",
        165,
        50,
        "guitar",
        0.0,
        "La voz va por un lado y la musica por el otro. "
        "Eso es todo lo que hace falta para escuchar mejor.",
    ),
    Piece(
        "lesson.ogg",
        9.0,
        "de+m2",
        155,
        45,
        "piano",
        0.0,
        "Guten Abend. Heute lernen wir, wie man eine Stimme von der Begleitung trennt, "
        "ohne ein einziges Wort zu verlieren.",
    ),
    Piece(
        "clip.mp4",
        8.0,
        "en-us+f4",
        160,
        55,
        "band",
        1.0,
        "Here is the picture, and here is the sound. "
        "Watch the bars move while the voice and the band share the stage.",
    ),
    Piece(
        "phone.mov",
        6.0,
        "fr+m4",
        160,
        45,
        "guitar",
        2.0,
        "Bonjour, je suis dans la rue, il y a de la musique partout, "
        "et pourtant vous pouvez encore m'entendre.",
    ),
    Piece(
        "lecture.mp3",
        61.0,
        "en-gb+m5",
        145,
        40,
        "strings",
        2.0,
        "Good evening. This recording is longer than a minute, so that it does not fit into one "
        "block. The machine reads it in pieces of twelve seconds, and each piece goes through the "
        "same network. What comes out is put together again, sample by sample, and nothing is lost "
        "at the seams. First comes the voice, that is what you hear now. Then comes the "
        "background, which is simply the rest: the mixture, minus the voice. If you add the two "
        "together, you get back what you started with. That is a good habit for any machine: take "
        "things apart in such a way that they can be put together again. The same is true for a "
        "long list of work. Write down what you are going to do before you do it. Write down what "
        "came of it before you go on. Then the light may go out at any time, and in the morning "
        "you go on from exactly where you stopped. Thank you for listening, and good night.",
    ),
)


def main() -> int:
    """Make all files, or the named ones."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="make only these files")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT)
    arguments = parser.parse_args()
    missing = [tool for tool in ("espeak-ng", "fluidsynth") if shutil.which(tool) is None]
    if missing or not arguments.soundfont.exists():
        print(
            f"{' and '.join(missing) or arguments.soundfont} not found. On Debian: "
            "apt-get install espeak-ng fluidsynth fluid-soundfont-gm",
            file=sys.stderr,
        )
        return 2
    for folder in (INPUTS, STEMS):
        folder.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(PIECES):
        if not arguments.names or piece.name in arguments.names:
            make(piece, number, arguments.soundfont)
    return 0


def make(piece: Piece, number: int, soundfont: Path) -> None:
    """Render one piece, mix it, write the mixture and its stems."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        length = round(piece.seconds * RATE_HZ)
        voice = fitted(speak(piece, folder), length)
        music = fitted(play(piece, number, folder, soundfont), length)
    voice *= level(music) / level(voice) * 10 ** (piece.ratio_db / 20)
    scale = PEAK / float(np.abs(voice + music).max())
    voice, music = voice * scale, music * scale
    demo_files.write_mixture(INPUTS / piece.name, voice + music)
    stem = Path(piece.name).with_suffix("").name
    demo_files.write_stem(STEMS / f"{stem}.voice.m4a", voice, channels=1)
    demo_files.write_stem(
        STEMS / f"{stem}.background.m4a", music, channels=1 if piece.name in demo_files.MONO else 2
    )
    print(f"{piece.name:16} {(INPUTS / piece.name).stat().st_size / 1000:7.0f} kB")


def speak(piece: Piece, folder: Path) -> Sound:
    """Return the voice, centred, a quarter of a second after the start."""
    path = folder / "voice.wav"
    options = [
        "-v",
        piece.voice,
        "-s",
        str(piece.words_per_minute),
        "-p",
        str(piece.pitch),
        "-w",
        str(path),
    ]
    subprocess.run(["espeak-ng", *options, piece.text], check=True)
    return np.concatenate([np.zeros((RATE_HZ // 4, 2), np.float32), read_wav(path)])


def play(piece: Piece, number: int, folder: Path, soundfont: Path) -> Sound:
    """Return the music."""
    score, path = folder / "music.mid", folder / "music.wav"
    score.write_bytes(demo_music.compose(piece.music, piece.seconds, seed=number))
    subprocess.run(
        [
            "fluidsynth",
            "-ni",
            "-q",
            "-g",
            "0.6",
            "-r",
            str(RATE_HZ),
            "-F",
            str(path),
            str(soundfont),
            str(score),
        ],
        check=True,
    )
    return read_wav(path)


def read_wav(path: Path) -> Sound:
    """Return a wave file as 44.1 kHz stereo."""
    with open_media(path) as container:
        return np.concatenate(list(Decoder(path, container).blocks()))


def fitted(sound: Sound, length: int) -> Sound:
    """Return the sound cut or padded to a length, with short fades."""
    fitted_sound = np.zeros((length, 2), np.float32)
    fitted_sound[: min(length, len(sound))] = sound[:length]
    fade = np.linspace(0, 1, RATE_HZ // 10, dtype=np.float32)[:, np.newaxis]
    fitted_sound[: len(fade)] *= fade
    fitted_sound[-len(fade) :] *= fade[::-1]
    return fitted_sound


def level(sound: Sound) -> float:
    """Return the RMS of the parts that are not silent."""
    loud = sound[np.abs(sound).max(axis=1) > 1e-3]
    return float(np.sqrt(np.mean(np.square(loud))))


if __name__ == "__main__":
    sys.exit(main())
