"""Fetched files on disk: one temporary directory per batch, bounded in size, gone afterwards."""

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from consumers.media.results import Fetched, Refusal
from models.media_kind import HEAD_BYTES, MediaKind, sniff

PREFIX, MARK = "tagstream-media-", "in-use"
Fill = Callable[[Callable[[bytes], None]], None]


class MediaStore:
    """At most ``room`` bytes; files that nobody holds any more are dropped first come, first gone. Safe for several threads.

    The directory is locked while in use; one that a killed process left behind is deleted by the next store.
    """

    def __init__(self, room: int, max_bytes: int) -> None:
        sweep(Path(tempfile.gettempdir()))
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        unlocked = self.directory / "new"
        self._mark = unlocked.open("w")
        fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(self.directory / MARK)
        self._room = room
        self._max_bytes = max_bytes
        self._used = 0
        self._number = 0
        self._kept: dict[str, Fetched] = {}
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Deletes all files."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._mark.close()

    def get(self, uri: str) -> Fetched | None:
        """A file that is here already, and is now held."""
        with self._lock:
            found = self._kept.get(uri)
            if found is not None:
                self._held[uri] = self._held.get(uri, 0) + 1
            return found

    def release(self, uri: str) -> None:
        """The file may go when room is needed."""
        with self._lock:
            self._held[uri] = max(self._held.get(uri, 0) - 1, 0)

    def put(self, uri: str, fill: Fill) -> Fetched:
        """Writes a file by ``fill``, which is given the function that takes its pieces; the file is held.

        Raises:
            Refusal: ``too_large``, ``wrong_kind`` (by the first bytes, before the rest is there), ``cache_full``; what ``fill`` raises.
        """
        with self._lock:
            self._number += 1
            path = self.directory / f"{self._number:06d}"
        sink = _Sink(path, self._max_bytes, self._take)
        try:
            with sink:
                fill(sink.write)
            fetched = sink.finished()
        except BaseException:
            path.unlink(missing_ok=True)
            self._take(-sink.size)
            raise
        with self._lock:
            self._kept[uri] = fetched
            self._held[uri] = self._held.get(uri, 0) + 1
        return fetched

    def _take(self, size: int) -> None:
        with self._lock:
            for uri in [uri for uri in self._kept if not self._held.get(uri)]:
                if self._used + size <= self._room:
                    break
                gone = self._kept.pop(uri)
                gone.path.unlink(missing_ok=True)
                self._used -= gone.bytes
            if size > 0 and self._used + size > self._room:
                raise Refusal("cache_full", "the files of this batch take all the room there is")
            self._used += size


def sweep(parent: Path) -> None:
    """Deletes this user's media directories that no process holds the lock of."""
    for mark in parent.glob(f"{PREFIX}*/{MARK}"):
        with suppress(OSError), mark.open() as file:
            if mark.parent.lstat().st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(mark.parent, ignore_errors=True)


class _Sink:
    """One file being written; counts, and looks at the first bytes."""

    def __init__(self, path: Path, max_bytes: int, take: Callable[[int], None]) -> None:
        self.size = 0
        self._path = path
        self._max_bytes = max_bytes
        self._take = take
        self._head = b""
        self._known = False

    def __enter__(self) -> "_Sink":
        self._file = self._path.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        """Raises:
        Refusal: when the file is no medium or too much of it."""
        if self.size + len(piece) > self._max_bytes:
            raise Refusal("too_large", f"more than {self._max_bytes} bytes")
        self._take(len(piece))
        self.size += len(piece)
        if not self._known:
            self._head += piece[:HEAD_BYTES]
            if len(self._head) >= HEAD_BYTES:
                self._look()
        self._file.write(piece)

    def finished(self) -> Fetched:
        """What was written."""
        return Fetched(self._path, self._look(), self.size)

    def _look(self) -> MediaKind:
        found = sniff(self._head)
        if found is None:
            raise Refusal("wrong_kind", "its first bytes are of no image, video or audio that is known here")
        self._known = True
        return found[0]
