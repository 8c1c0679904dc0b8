"""A real HTTP server on a loopback address, with a page for each way in which a server can misbehave."""

import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


def png(width: int = 20, height: int = 10) -> bytes:
    """A real PNG, red on its left half."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 2] = 255
    return bytes(cv2.imencode(".png", image)[1])


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG that declares a size which nobody should allocate."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def wav(seconds: float = 0.5, pitch: float = 440.0) -> bytes:
    """A real WAV: mono, 16 kHz, a sine."""
    wave_form = np.sin(np.arange(int(seconds * 16_000)) * 2 * np.pi * pitch / 16_000)
    data = (wave_form * 12_000).astype("<i2").tobytes()
    header = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVEfmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", len(data))
    return header + data


class Pages(BaseHTTPRequestHandler):
    """What is served by path; ``server.hits`` lists the paths asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        page = getattr(self, "page_" + self.path.partition("?")[0].strip("/").partition("/")[0].replace("-", "_"), None)
        try:
            if page is None:
                self.body(404, b"none")
            else:
                page()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def body(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | {key.replace("_", "-"): value for key, value in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def page_png(self) -> None:
        self.body(200, png(), Content_Type="text/html")

    def page_wav(self) -> None:
        self.body(200, wav())

    def page_text(self) -> None:
        self.body(200, b"<html>no picture</html>" * 50, Content_Type="image/png")

    def page_bomb(self) -> None:
        self.body(200, png_bomb(100_000, 100_000))

    def page_gzip(self) -> None:
        self.body(200, zlib.compress(png() + bytes(50_000_000)), Content_Encoding="gzip")

    def page_to(self) -> None:
        self.body(302, b"", Location=self.path.partition("?")[2])

    def page_loop(self) -> None:
        self.body(302, b"", Location="/loop")

    def page_nowhere(self) -> None:
        self.body(302, b"")

    def page_error(self) -> None:
        self.body(503, b"later")

    def page_promises_more(self) -> None:
        self.body(200, png(), Content_Length="10000")
        self.close_connection = True

    def page_promises_less(self) -> None:
        self.body(200, png() + bytes(100_000), Content_Length=str(len(png())))
        self.close_connection = True

    def page_promises_huge(self) -> None:
        self.body(200, png(), Content_Length=str(10**15))
        self.close_connection = True

    def page_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(png()), png()))
        while True:
            self.wfile.write(b"10000\r\n" + bytes(65_536) + b"\r\n")

    def page_cut_chunk(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"10000\r\n" + png())
        self.close_connection = True

    def page_drip_body(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "300")
        self.end_headers()
        for byte in (png() + bytes(300))[:300]:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def page_drip_header(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(300):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def page_no_http(self) -> None:
        self.wfile.write(b"SSH-2.0-nothing\r\n")
        self.close_connection = True

    def page_continue(self) -> None:
        for _ in range(300):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.05)

    def log_message(self, *args: object) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int = 0) -> None:
        super().__init__((host, port), Pages)
        self.hits: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_port}"


@contextmanager
def serving(host: str, port: int = 0) -> Iterator[Server]:
    """The server, while the block runs."""
    server = Server(host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
