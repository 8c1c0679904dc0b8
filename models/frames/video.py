"""One video file: what its packets say, and frames decoded from chosen places, each one counted.

The index comes from reading packets without decoding them (8 us a packet): how many there really are, and where the key frames stand.
OpenCV seeks to the key frame at least ``SEEK_BACK`` frames before the target and decodes from there, so with the index the cost of a
seek is known before it is made.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.frames.spec import FrameSpec
from models.media_kind import HEAD_BYTES, sniff
from schemas.errors import InvalidMedia, MediaTooLarge

SEEK_BACK = 16
READ_TIMEOUT_MS = 10_000
THREADS = 2
Image = NDArray[np.uint8]
Clock = Callable[[], float]


class VideoIndex(Struct, frozen=True):
    """``packets`` is how many frames the file holds, ``declared`` how many its header promises (0 = unknown); ``keys`` are the numbers
    of the key frames, ascending, the first 0."""

    width: int
    height: int
    fps: float
    packets: int
    declared: int
    keys: NDArray[np.int64]

    @property
    def duration_ms(self) -> int:
        """By the number of frames, not by the header."""
        return round(self.packets / self.fps * 1000)

    @property
    def truncated(self) -> bool:
        """A tenth of the promised frames is missing."""
        return self.packets < 0.9 * self.declared - 2

    def cost(self, target: int) -> int:
        """Frames that a seek to ``target`` decodes, the target included."""
        key = int(self.keys[np.searchsorted(self.keys, max(target - SEEK_BACK, 0), side="right") - 1])
        return target - key + 1


class OutOfTime(Exception):
    """The wall clock bound was met; what was decoded before stands."""


class Video:
    """An open video. ``decoded`` counts frames decoded so far, those that a seek passes over included."""

    def __init__(self, path: Path, index: VideoIndex, deadline: float, clock: Clock) -> None:
        self.index = index
        self.decoded = 0
        self._capture = _opened(path, [])
        self._next = 0
        self._deadline = deadline
        self._clock = clock

    def close(self) -> None:
        """Frees the decoder."""
        self._capture.release()

    def run(self, start: int, length: int, step: int) -> Iterator[tuple[int, int, Image]]:
        """(number, position in ms, BGR image) of every ``step``-th frame from ``start``; ends early where the file does.

        Raises:
            OutOfTime: when the wall clock bound is met.
        """
        if start != self._next and not self._go(start):
            return
        for number in range(start, min(start + length, self.index.packets)):
            if self._clock() > self._deadline:
                raise OutOfTime
            if not self._capture.grab():
                return
            self.decoded += 1
            self._next = number + 1
            if (number - start) % step == 0:
                got, image = self._capture.retrieve()
                if got and image is not None and image.ndim == 3:
                    yield number, self._position(number), image

    def _go(self, start: int) -> bool:
        """To the place just before ``start``: by decoding on where that is cheaper, else by a seek."""
        ahead = start - self._next
        if 0 < ahead < self.index.cost(start):
            for _ in range(ahead):
                if self._clock() > self._deadline:
                    raise OutOfTime
                if not self._capture.grab():
                    return False
                self.decoded += 1
        else:
            self.decoded += self.index.cost(start) - 1
            if not self._capture.set(cv2.CAP_PROP_POS_FRAMES, start):
                return False
        self._next = start
        return True

    def _position(self, number: int) -> int:
        stamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        return round(stamp) if stamp > 0 else round(number / self.index.fps * 1000)


def read_index(path: Path, spec: FrameSpec, deadline: float, clock: Clock) -> VideoIndex:
    """Reads a video's packets.

    Raises:
        InvalidMedia: no video that can be opened; MediaTooLarge: more of it than ``spec`` allows.
    """
    _check_magic(path)
    capture = _opened(path, [cv2.CAP_PROP_FORMAT, -1])
    try:
        width, height = (int(capture.get(prop)) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        declared = int(min(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0), 2**53))
        if width <= 0 or height <= 0:
            raise InvalidMedia(f"a video of {width} x {height} pixels")
        fps = fps if 0.01 <= fps <= 1000 else 25.0
        _check_size(spec, width * height, declared, fps)
        packets, keys = 0, []
        while capture.grab():
            if capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME):
                keys.append(packets)
            packets += 1
            if packets > spec.max_frames or packets / fps > spec.max_duration_s:
                _check_size(spec, width * height, packets, fps)
            if packets % 1024 == 0 and clock() > deadline:
                raise InvalidMedia(f"its packets cannot be read within {spec.max_seconds:g} s")
    finally:
        capture.release()
    if not packets:
        raise InvalidMedia("a video without frames")
    if not keys or keys[0] != 0:
        keys.insert(0, 0)
    return VideoIndex(width, height, fps, packets, declared, np.asarray(keys, np.int64))


def _check_size(spec: FrameSpec, pixels: int, frames: int, fps: float) -> None:
    if pixels > spec.max_frame_pixels:
        raise MediaTooLarge("pixels", f"frames of {pixels} pixels, at most {spec.max_frame_pixels}")
    if frames > spec.max_frames:
        raise MediaTooLarge("frames", f"{frames} frames, at most {spec.max_frames}")
    if frames / fps > spec.max_duration_s:
        raise MediaTooLarge("duration", f"{frames / fps:.0f} s, at most {spec.max_duration_s:g} s")


def _check_magic(path: Path) -> None:
    """Before FFmpeg sees the file: it would follow a playlist to other files and hosts."""
    try:
        with path.open("rb") as file:
            found = sniff(file.read(HEAD_BYTES))
    except OSError as error:
        raise InvalidMedia(f"cannot be read ({error.strerror})") from None
    if found is None or found[0] != "video":
        raise InvalidMedia("not a video" if found is None else f"not a video but {found[1]}")


def _opened(path: Path, options: list[int]) -> Any:
    limits = [
        cv2.CAP_PROP_N_THREADS,
        THREADS,
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        READ_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        READ_TIMEOUT_MS,
    ]
    try:
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [*limits, *options])
    except cv2.error as error:
        raise InvalidMedia(f"cannot be opened ({error})") from None
    if not capture.isOpened():
        raise InvalidMedia("cannot be opened as a video; truncated or damaged")
    return capture
