"""Sound out of audio files and videos, within bounds: mono, 16,000 samples a second, decoded piece by piece.

PyAV and not the ffmpeg program: it is a wheel that brings its FFmpeg along, so nothing has to be installed; pieces arrive one at a time,
so time and length are bounded while decoding; and it runs in the decoding process, which may die. OpenCV, which is there already, opens
no sound. Of what FFmpeg can, only self-contained formats are let in, and no other file is opened.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from schemas.errors import InvalidMedia, MediaTooLarge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
FORMATS = "mov,matroska,avi,mp3,flac,ogg,wav,aac"
LEAST_RATE, MOST_RATE = 4_000, 768_000
BROKEN_PACKETS = 50


class SoundSpec(Struct, frozen=True, kw_only=True):
    """How much of a sound is taken.

    ``taken_s``: seconds that are returned, the rest is left out. ``max_duration_s`` refuses a medium that is longer by its header before
    any of it is decoded. ``max_seconds``: safety valve on the wall clock.
    """

    taken_s: Annotated[float, Meta(gt=0)] = 600.0
    max_duration_s: Annotated[float, Meta(gt=0)] = 14_400.0
    max_seconds: Annotated[float, Meta(gt=0)] = 60.0


class Sound(Struct, frozen=True):
    """``samples``: float32 in [-1, 1], mono, ``SAMPLE_RATE`` a second, from the medium's start; empty where the medium has no sound.
    ``cut`` says what had to be left out, empty otherwise."""

    samples: "NDArray[np.float32]"
    cut: str = ""


def open_sound(path: Path, spec: SoundSpec | None = None) -> Sound:
    """The first sound track of an audio file or a video.

    Args:
        path: a local file.
        spec: how much of it.

    Raises:
        MediaTooLarge: with ``duration``, by the header.
        InvalidMedia: no format that is opened here, or a track of which nothing can be decoded.
    """
    import av
    import numpy as np

    spec = spec or SoundSpec()
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        with av.open(f"file:{path}", options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                return Sound(np.zeros(0, np.float32))
            stream = container.streams.audio[0]
            _check_length(container, stream, spec.max_duration_s)
            return _Taking(container, stream, spec).run()
    except (av.FFmpegError, OSError, ValueError, TypeError, OverflowError, LookupError) as error:
        raise InvalidMedia(f"no sound that can be decoded ({type(error).__name__})") from None


def _check_length(container: Any, stream: Any, most_s: float) -> None:
    lengths = [container.duration / 1e6 if container.duration else 0.0]
    if stream.duration and stream.time_base:
        lengths.append(float(stream.duration * stream.time_base))
    if max(lengths) > most_s:
        raise MediaTooLarge("duration", f"{max(lengths):.0f} s long, at most {most_s:.0f}")


class _Taking:
    """One track being decoded."""

    def __init__(self, container: Any, stream: Any, spec: SoundSpec) -> None:
        self._container, self._stream, self._spec = container, stream, spec
        self._room = int(spec.taken_s * SAMPLE_RATE)
        self._pieces: list[NDArray[np.float32]] = []
        self._end = time.monotonic() + spec.max_seconds
        self._resampler: Any = None
        self._shape: tuple[str, str, int] | None = None
        self._broken = 0
        self._cut = ""

    def run(self) -> Sound:
        """Decodes until there is no more, or enough."""
        import numpy as np

        for frame in self._frames():
            if self._shape is None:
                self._lead(frame)
            self._take(self._convert(frame))
            if self._room <= 0:
                break
        if self._room > 0 and self._resampler is not None:
            self._take(self._resampler.resample(None))
        if self._broken and not self._pieces:
            raise InvalidMedia("no sound that can be decoded (broken packets)")
        whole = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        return Sound(np.clip(np.nan_to_num(whole, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0), self._cut)

    def _frames(self) -> Iterator[Any]:
        """Frames one at a time; broken packets are left out, a few of them."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            if time.monotonic() > self._end:
                self._cut = f"{self._taken_s:.0f} s of sound were decoded in the time there was"
                return
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                self._cut = f"damaged or truncated after {self._taken_s:.0f} s of sound"
                self._broken += 1
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self._broken += 1
                self._cut = f"damaged: {self._broken} pieces of sound could not be decoded"
                if self._broken >= BROKEN_PACKETS:
                    return

    @property
    def _taken_s(self) -> float:
        return sum(len(piece) for piece in self._pieces) / SAMPLE_RATE

    def _lead(self, frame: Any) -> None:
        """A track that starts after the medium's start is silent till then."""
        import numpy as np

        start = (frame.time or 0.0) - (self._container.start_time or 0) / 1e6
        lead = min(int(max(start, 0.0) * SAMPLE_RATE), self._room)
        if lead:
            self._pieces.append(np.zeros(lead, np.float32))
            self._room -= lead

    def _convert(self, frame: Any) -> list[Any]:
        """A frame as 16 kHz mono; a track may change its rate or channels on the way."""
        import av

        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if not LEAST_RATE <= frame.sample_rate <= MOST_RATE:
            raise InvalidMedia(f"{frame.sample_rate} samples a second, {LEAST_RATE} to {MOST_RATE} are taken")
        done: list[Any] = []
        if shape != self._shape:
            done = self._resampler.resample(None) if self._resampler is not None else []
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            self._shape = shape
        frame.pts = None
        return [*done, *self._resampler.resample(frame)]

    def _take(self, frames: list[Any]) -> None:
        for frame in frames:
            piece = frame.to_ndarray()[0]
            if len(piece) > self._room:
                piece = piece[: self._room]
                self._cut = self._cut or f"only the first {self._spec.taken_s:.0f} s of sound are taken"
            if len(piece):
                self._pieces.append(piece.copy())
            self._room -= len(piece)
