"""Write the demo media in everyday containers."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 44100
MONO = ("memo.wav",)
FPS = 12
WIDTH, HEIGHT = 320, 180
AUDIO = {
    ".mp3": ("mp3", "libmp3lame", 44100, 112_000),
    ".m4a": ("ipod", "aac", 44100, 128_000),
    ".wav": ("wav", "pcm_s16le", 22050, 0),
    ".flac": ("flac", "flac", 44100, 0),
    ".ogg": ("ogg", "libopus", 48000, 96_000),
    ".mp4": ("mp4", "aac", 48000, 128_000),
    ".mov": ("mov", "aac", 44100, 112_000),
}
"""Container, encoder, rate and bitrate by suffix."""

Sound = npt.NDArray[np.float32]


def write_mixture(path: Path, sound: Sound) -> None:
    """Write a demo file; mp4 and mov get a video of moving level bars."""
    container_name, encoder, rate, bitrate = AUDIO[path.suffix]
    with av.open(
        str(path),
        "w",
        format=container_name,
        options={"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {},
    ) as container:
        audio = add_audio(container, encoder, rate, bitrate, 1 if path.name in MONO else 2)
        video = add_video(container) if path.suffix in (".mp4", ".mov") else None
        put_sound(container, audio, sound)
        if video is not None:
            put_pictures(container, video, sound)


def write_stem(path: Path, sound: Sound, channels: int) -> None:
    """Write a true stem as AAC, in a container that keeps the exact start.

    The error of AAC is at least 25 dB below the stem.
    """
    with av.open(str(path), "w", format="ipod") as container:
        audio = add_audio(container, "aac", RATE_HZ, 64_000 * channels, channels)
        put_sound(container, audio, sound)


def add_audio(
    container: av.container.OutputContainer, encoder: str, rate: int, bitrate: int, channels: int
) -> av.AudioStream:
    """Add an audio track."""
    stream = cast("av.AudioStream", container.add_stream(encoder, rate=rate))
    stream.codec_context.layout = "mono" if channels == 1 else "stereo"
    if bitrate:
        stream.codec_context.bit_rate = bitrate
    if encoder == "aac":
        stream.codec_context.options = {"aac_coder": "fast"}
    return stream


def put_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, sound: Sound
) -> None:
    """Encode the whole sound into an audio track."""
    codec = stream.codec_context
    codec.open(strict=False)
    mono = codec.layout.name == "mono"
    planes = np.ascontiguousarray(sound.mean(axis=1, keepdims=True).T if mono else sound.T)
    frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=codec.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
    resampler = av.AudioResampler(
        codec.format.name, codec.layout.name, codec.sample_rate, codec.frame_size or None
    )
    for ready in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(ready))
    container.mux(stream.encode(None))


def add_video(container: av.container.OutputContainer) -> av.VideoStream:
    """Add a small video track."""
    stream = container.add_stream("libx264", rate=FPS, options={"crf": "30", "preset": "veryslow"})
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    return stream


def put_pictures(
    container: av.container.OutputContainer, stream: av.VideoStream, sound: Sound
) -> None:
    """Draw sixteen bars that follow the spectrum of the sound."""
    step = RATE_HZ // FPS
    for start in range(0, len(sound) - step, step):
        power = (
            np.abs(np.fft.rfft(sound[start : start + step].mean(axis=1)))[1:513]
            .reshape(16, 32)
            .mean(axis=1)
        )
        heights = np.clip(HEIGHT * (np.log10(power + 1e-3) + 1) / 3, 4, HEIGHT - 4).astype(int)
        picture = np.full((HEIGHT, WIDTH, 3), (18, 22, 38), np.uint8)
        for bar, height in enumerate(heights):
            picture[HEIGHT - height :, bar * 20 + 3 : bar * 20 + 17] = (
                70 + bar * 10,
                180 - bar * 6,
                220,
            )
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))
