"""The note index over a connection that is cut: ``Transient`` while it is away, the same object works again afterwards."""

import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from recall.note_index import MilvusNoteIndex, now_ms
from recall.stores import Window
from schemas.errors import Transient
from schemas.writes import PutVector


class Gate:
    """A TCP relay to a server that can be shut and opened again on the same port."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._sockets: list[socket.socket] = []
        self._relays: list[threading.Thread] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        for each in (self._listener, *self._sockets):
            self._end(each)
        for relay in self._relays:
            relay.join()
        for each in (self._listener, *self._sockets):
            each.close()
        self._sockets, self._relays = [], []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._relays.append(threading.Thread(target=self._relay, args=(source, sink), daemon=True))
                self._relays[-1].start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass  # the gate was shut
        self._end(sink)

    @staticmethod
    def _end(each: socket.socket) -> None:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already


def test_an_outage_is_transient_and_ends(settings: Any, capfd: pytest.CaptureFixture[str]) -> None:
    gate = Gate(settings.milvus_uri)
    index = MilvusNoteIndex(msgspec.structs.replace(settings, milvus_uri=f"http://127.0.0.1:{gate.port}"), "b1")
    index.create(4)
    query = np.eye(4, dtype=np.float32)[:1]
    put = PutVector("n", "a", None, now_ms(), 1, query[0])
    gate.shut()
    for call in (lambda: index.search(query, 3, Window()), lambda: index.upsert([put]), lambda: index.visible(["n"])):
        with pytest.raises(Transient, match="milvus"):
            call()
    assert capfd.readouterr().err == "", "the client's own tracebacks are not shown"
    gate.open()
    deadline = time.monotonic() + 30
    while True:
        try:
            index.upsert([put])
            break
        except Transient:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    while not index.search(query, 3, Window())[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    gate.shut()
