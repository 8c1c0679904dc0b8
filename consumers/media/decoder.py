"""Images, frames and sound out of files, in a process that may die without taking the consumer along."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import msgspec
import numpy as np

from consumers.media.decode_wire import Answer, Ask, Pixels
from consumers.media.limits import MediaLimits
from consumers.media.results import Reason, Refusal
from models.frames import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRACE_S = 10.0
MOST_BYTES = 1 << 30
# FFmpeg reads this one file and nothing else, and only containers that name no other.
FFMPEG = "protocol_whitelist;file|format_whitelist;mov,matroska,avi"
QUIET = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_CAPTURE_OPTIONS": FFMPEG, "OMP_NUM_THREADS": "1"}


class Decoder:
    """One child process, started with the first file, replaced when it dies or takes ``GRACE_S`` longer than it may. Safe for several
    threads, which take turns."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self._child: tuple[subprocess.Popen[bytes], Connection] | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """No other thread's file comes between those that are decoded within the block."""
        with self._lock:
            yield

    def close(self) -> None:
        """Ends the child."""
        with self._lock:
            self._end()

    def image(self, path: Path, within_s: float | None = None) -> "NDArray[np.uint8]":
        """A still image, RGB, (height, width, 3), at most ``image_pixels``; ``within_s`` seconds, at most those of the limits.

        Raises:
            Refusal: ``pixels``, ``undecodable``, ``decode_timeout``, ``decoder_crashed``.
        """
        ask = Ask(path=str(path), max_pixels=self._limits.max_pixels, out_pixels=self._limits.image_pixels)
        return _array(self._ask(ask, self._within(within_s)).images[0])

    def frames(self, path: Path, budget: int, within_s: float | None = None) -> tuple[list[Frame], str]:
        """At most ``budget`` frames of a video, and what had to be cut (``Sampled.cut``).

        Raises:
            Refusal: as ``image``, and ``duration``, ``frames``.
        """
        within = self._within(within_s)
        spec = msgspec.structs.replace(self._limits.frames, max_seconds=within)
        found = self._ask(Ask(path=str(path), budget=budget, spec=spec), within)
        return [Frame(_array(item), item.position_ms, item.shot) for item in found.images], found.cut

    def sound(self, path: Path, within_s: float | None = None) -> tuple["NDArray[np.float32]", str]:
        """The sound of an audio file or a video, mono, 16,000 samples a second, in [-1, 1], empty where it has none; and what had to be
        cut (``Sound.cut``).

        Raises:
            Refusal: as ``image``, and ``duration``.
        """
        within = self._within(within_s)
        found = self._ask(Ask(path=str(path), sound=msgspec.structs.replace(self._limits.sound, max_seconds=within)), within)
        return np.frombuffer(found.sound, np.float32), found.cut

    def _within(self, within_s: float | None) -> float:
        within = self._limits.decode_s if within_s is None else min(within_s, self._limits.decode_s)
        if within <= 0:
            raise Refusal("decode_timeout", f"the note's media were not decoded within {self._limits.decode_s:g} s")
        return within

    def _ask(self, ask: Ask, within_s: float) -> Answer:
        with self._lock:
            child, connection = self._child or self._start()
            late = threading.Event()

            def kill() -> None:
                late.set()
                child.kill()

            timer = threading.Timer(within_s + GRACE_S, kill)
            timer.daemon = True
            timer.start()
            try:
                connection.send_bytes(msgspec.msgpack.encode(ask))
                answer = msgspec.msgpack.decode(connection.recv_bytes(MOST_BYTES), type=Answer)
            except (EOFError, OSError, msgspec.DecodeError):
                self._end()
                if late.is_set():
                    raise Refusal("decode_timeout", f"not decoded within {within_s + GRACE_S:.0f} s") from None
                raise Refusal("decoder_crashed", "the decoder died of it") from None
            finally:
                timer.cancel()
        if answer.failed:
            raise Refusal(cast("Reason", answer.failed), answer.detail)
        return answer

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "consumers.media.decode_child", str(theirs.fileno())]
        child = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=os.environ | QUIET,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self._child = (child, ours)
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            child, connection = self._child
            self._child = None
            connection.close()
            child.kill()
            child.wait()


def _array(pixels: Pixels) -> "NDArray[np.uint8]":
    return np.frombuffer(pixels.data, np.uint8).reshape(pixels.height, pixels.width, 3)
