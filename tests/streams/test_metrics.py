"""Every metric name has labels, is exposed under its very name, and can be fetched over HTTP."""

import socket
import urllib.request
from typing import get_args

from schemas.metrics import Counter, Gauge, Histogram
from streams.metrics import LABELS, Metrics


def test_every_name_is_labelled_and_exposed():
    names = {*get_args(Counter), *get_args(Gauge), *get_args(Histogram)}
    assert set(LABELS) == names
    text = Metrics().text()
    assert all(f"# HELP {name} " in text for name in names)


def test_values_arrive_over_http():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    metrics = Metrics()
    metrics.count("tagstream_dead_letters_total", 3, job="j", reason="poison")
    metrics.observe("tagstream_batch_size", 40, job="j")
    server, thread = metrics.serve(port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            body = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert 'tagstream_dead_letters_total{job="j",reason="poison"} 3.0' in body
    assert 'tagstream_batch_size_bucket{job="j",le="100.0"} 1.0' in body


def test_no_port_serves_nothing():
    assert Metrics().serve(0) is None
