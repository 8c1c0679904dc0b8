"""Metrics under the names of ``schemas/metrics.py``, in Prometheus format. Nothing leaves the process unless a port is set."""

from threading import Thread
from typing import get_args
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram

from schemas.metrics import Counter, Gauge, Histogram

LABELS: dict[str, tuple[str, ...]] = {
    "tagstream_events_handled_total": ("job",),
    "tagstream_dead_letters_total": ("job", "reason"),
    "tagstream_degraded_total": ("job",),
    "tagstream_skipped_total": ("job", "reason"),
    "tagstream_conflicts_total": ("job",),
    "tagstream_retries_total": ("job", "dependency"),
    "tagstream_canaries_total": ("outcome",),
    "tagstream_paused": ("job",),
    "tagstream_lag": ("job",),
    "tagstream_tag_drift": ("measure",),
    "tagstream_tag_drift_alerts": ("bundle",),
    "tagstream_batch_size": ("job",),
    "tagstream_batch_seconds": ("job", "phase"),
    "tagstream_stage_seconds": ("stage",),
    "tagstream_canary_seconds": ("step",),
}
SIZES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics:
    """One process's metrics in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters = {name: PrometheusCounter(name, name, LABELS[name], registry=self.registry) for name in get_args(Counter)}
        self._gauges = {name: PrometheusGauge(name, name, LABELS[name], registry=self.registry) for name in get_args(Gauge)}
        self._histograms = {
            name: PrometheusHistogram(
                name, name, LABELS[name], registry=self.registry, buckets=SIZES if name == "tagstream_batch_size" else SECONDS
            )
            for name in get_args(Histogram)
        }

    def count(self, name: Counter, amount: float, **labels: str) -> None:
        """Adds to a counter."""
        self._counters[name].labels(**labels).inc(amount)

    def set(self, name: Gauge, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._gauges[name].labels(**labels).set(value)

    def observe(self, name: Histogram, value: float, **labels: str) -> None:
        """Adds an observation to a histogram."""
        self._histograms[name].labels(**labels).observe(value)

    def text(self) -> str:
        """All metrics in Prometheus text format."""
        return generate_latest(self.registry).decode()

    def serve(self, port: int) -> tuple[WSGIServer, Thread] | None:
        """Serves ``/metrics`` on ``port`` from a daemon thread; port 0 serves nothing and gives None.

        Raises:
            OSError: the port is taken.
        """
        return start_http_server(port, registry=self.registry) if port else None
