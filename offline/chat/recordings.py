"""Answers that were paid for, kept so that none is paid for twice.

A directory holds one append-only file of JSON lines per process that wrote there. A line is flushed before its answer is used: what a kill
leaves is whole lines and at most one torn one, which is passed over. Only answers are kept, by the digest of what was asked; no message.
"""

import logging
import os
import secrets
import threading
import time
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from schemas.errors import BadSetting

OFFSET_BITS = 44
log = logging.getLogger(__name__)


class Recorded(Struct, frozen=True):
    """``key``: hex digest of the request; ``at``: epoch ms."""

    key: str
    model: str
    text: str
    cut: bool
    prompt_tokens: int
    completion_tokens: int
    at: int


class _Key(Struct, frozen=True):
    key: str


class Recordings:
    """The recordings of a directory as they were when it was opened, and this process's own; for any thread.

    Memory holds a digest and a place for each, so millions fit.

    Raises:
        BadSetting: when the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: list[Path] = []
        self._places: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._own: BinaryIO | None = None
        self._own_number = 0
        if directory.exists() and not directory.is_dir():
            raise BadSetting(f"--recordings {directory}: is no directory; give one for the recordings' files")
        for file in sorted(directory.glob("*.jsonl")):
            self._index(file)

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: str) -> Recorded | None:
        """The answer to a request; None where there is none."""
        with self._lock:
            place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        with self._files[place >> OFFSET_BITS].open("rb") as file:
            file.seek(place & (1 << OFFSET_BITS) - 1)
            return msgspec.json.decode(file.readline(), type=Recorded)

    def keep(self, recorded: Recorded) -> None:
        """Appends an answer; it outlives the process when this returns."""
        line = msgspec.json.encode(recorded) + b"\n"
        with self._lock:
            file = self._own = self._own or self._begin()
            place = self._own_number << OFFSET_BITS | file.tell()
            file.write(line)
            file.flush()
            self._places[bytes.fromhex(recorded.key)] = place

    def close(self) -> None:
        """Closes this process's file."""
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _begin(self) -> BinaryIO:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._own_number = len(self._files)
        self._files.append(path)
        return path.open("xb")

    def _index(self, path: Path) -> None:
        decode = msgspec.json.Decoder(_Key).decode
        number, torn, offset = len(self._files), 0, 0
        self._files.append(path)
        with path.open("rb") as file:
            for line in file:
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError
                    self._places[bytes.fromhex(decode(line).key)] = number << OFFSET_BITS | offset
                except ValueError:
                    torn += 1
                offset += len(line)
        if torn:
            log.warning("%s: %d torn lines are passed over; what they held is asked again", path, torn)
