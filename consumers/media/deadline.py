"""A total deadline for one medium, however slowly its server answers."""

import os
import socket
import threading
import time

from consumers.media.results import Refusal


class Deadline:
    """Seconds left for one medium. A watched socket is shut down when they are over, which ends any read, handshake or header under way:
    a time limit on each read alone would let a server send one byte at a time for ever."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._watched: list[socket.socket] = []
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._over = False

    @property
    def left(self) -> float:
        """Seconds, 0 when over."""
        return max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raises:
        Refusal: ``timeout`` when over."""
        if self.left <= 0:
            raise Refusal("timeout", "it was not there in time")

    def watch(self, connection: socket.socket) -> None:
        """Ends this connection when the time is over, whoever reads from it then."""
        twin = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._watched.append(twin)
            if self._timer is None:
                self._timer = threading.Timer(self.left, self._expire)
                self._timer.daemon = True
                self._timer.start()
            elif self._over:
                _end(twin)

    def close(self) -> None:
        """Stops watching."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            for twin in self._watched:
                twin.close()
            self._watched.clear()

    def _expire(self) -> None:
        with self._lock:
            self._over = True
            for twin in self._watched:
                _end(twin)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
