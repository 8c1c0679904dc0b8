"""A real OpenAI-compatible server on loopback whose faults are told in advance, one per request."""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], str | dict[str, Any]]
"""A request's body to the text of an answer, or to a whole completion."""
SHOE_TAGS = [
    {"text": "gum sole", "dimension": "outsole_traction", "source": "image"},
    {"text": "crimson mesh", "dimension": "upper_material", "source": "title"},
]


def completion(text: str, *, finish: str = "stop", logprobs: bool = False) -> dict[str, Any]:
    """A chat completion; with ``logprobs`` in pieces of three characters, each less likely than the one before."""
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    told = {
        "content": [{"token": one, "bytes": list(one.encode()), "logprob": -0.01 * at, "top_logprobs": []} for at, one in enumerate(pieces)]
    }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": told if logprobs else None,
    }
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "fake", "choices": [choice]}


class ChatServer(ThreadingHTTPServer):
    """``faults``: what the next requests meet: a status, ``hang``, ``html``, ``half`` (of a JSON body), ``empty`` (no choices), ``close``,
    or an answer's text. Without any, ``answer`` makes the text. ``asked``: bodies of the requests; ``most``: at a time so far."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Answer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Chat)
        self.answer = answer
        self.faults: deque[int | str | tuple[int, dict[str, str]]] = deque()
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.logprobs = False
        self.slow_s = 0.0
        self.most = self.now = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers["Authorization"])
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            fault = self.server.faults.popleft() if self.server.faults else None
        try:
            time.sleep(self.server.slow_s)
            self.meet(fault, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.now -= 1

    def meet(self, fault: Any, body: dict[str, Any]) -> None:
        headers: dict[str, str] = {}
        if isinstance(fault, tuple):
            fault, headers = fault
        if isinstance(fault, int):
            self.send(fault, json.dumps({"error": {"message": f"no, {self.headers['Authorization']}"}}).encode(), **headers)
        elif fault == "hang":
            self.server.over.wait(30)
            self.close_connection = True
        elif fault == "close":
            self.close_connection = True
        elif fault == "html":
            self.send(200, b"<html>a proxy's page</html>", kind="text/html")
        elif fault == "half":
            whole = json.dumps(completion("[]")).encode()
            self.send(200, whole[: len(whole) // 2])
        elif fault == "empty":
            self.send(200, json.dumps(completion("") | {"choices": []}).encode())
        elif fault == "cut":
            self.send(200, json.dumps(completion(json.dumps(SHOE_TAGS)[:-20], finish="length")).encode())
        else:
            made = fault if isinstance(fault, str) else self.server.answer(body)
            whole = completion(made, logprobs=self.server.logprobs) if isinstance(made, str) else made
            self.send(200, json.dumps(whole).encode())

    def send(self, status: int, data: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        return


@contextmanager
def chat_server(answer: Answer = lambda body: json.dumps(SHOE_TAGS), port: int = 0) -> Iterator[ChatServer]:
    """The server, while the block runs."""
    server = ChatServer(answer, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    TITLE_TAGS = json.dumps([{"text": "crimson mesh", "dimension": "upper_material", "source": "title"}])
    ChatServer(lambda body: TITLE_TAGS, int(sys.argv[1])).serve_forever()
