"""Wires the metrics job from the settings, runs it, and watches its figures for drift of tag quality."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from consumers.metrics_store import RedisMetrics
from consumers.tag_quality import open_quality, open_reference
from recall.pointer import active_bundle
from recall.redis_client import Client, redis_client
from schemas.settings import Settings
from streams.jobs import Counts, Stop
from streams.metric_order import Stalled
from streams.metric_report import By, Report, report
from streams.metric_steps import JOB
from streams.metric_windows import Rules
from streams.metrics import Metrics
from streams.metrics_app import Injected, MetricsApp
from streams.tag_drift import Drift, Thresholds

log = logging.getLogger(__name__)
WATCH_S = 10.0


class MetricsJob:
    """The job, with the face of ``streams.engine.Engine``: ``run`` and ``counts``."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``Transient`` when Redis does not answer."""
        self._settings = settings
        self._metrics = Metrics()
        self._app: MetricsApp | None = None
        self._told, self._before = Counts(), Counts()
        client = redis_client(settings)
        active_bundle(client, settings)
        self._drift = DriftWatch(settings, client, self._metrics)
        given = cache(lambda bundle: open_reference(settings, bundle) is not None)
        self._injected = Injected(RedisMetrics(client, settings.namespace), open_quality(settings), given, self._look)

    def serve(self) -> None:
        """Serves the Prometheus metrics where the setting names a port."""
        self._metrics.serve(self._settings.metrics_port)

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        now = self._app.counts if self._app else Counts()
        return Counts(*(getattr(self._before, name) + getattr(now, name) for name in now.__struct_fields__))

    def run(self, stop: Stop, until_idle: float | None = None) -> Counts:
        """Runs in this process until the stop is requested or, with ``until_idle``, nothing came for so many seconds.

        Raises:
            Transient: a server does not answer, or the app ended by itself.
            MissingPrerequisite: a topic is missing.
        """
        while True:
            try:
                asyncio.run(self._run(stop, until_idle))
            except Stalled as error:
                log.warning("metrics: %s; a new app goes on from the last commit", error)
                self._before, self._app = self.counts, None
            else:
                return self.counts

    async def _run(self, stop: Stop, until_idle: float | None) -> None:
        self._app = MetricsApp(self._settings, self._injected)
        await self._app.run(stop, until_idle)

    def _look(self) -> None:
        now, before = self.counts, self._told
        self._told = now
        self._metrics.count("tagstream_events_handled_total", now.handled - before.handled, job=JOB)
        self._metrics.count("tagstream_dead_letters_total", now.dead_lettered - before.dead_lettered, job=JOB, reason="any")
        self._metrics.count("tagstream_skipped_total", now.skipped_as_applied - before.skipped_as_applied, job=JOB, reason="applied")
        self._metrics.count("tagstream_skipped_total", now.stale - before.stale, job=JOB, reason="stale")
        self._drift.look()


@contextmanager
def open_metrics(settings: Settings) -> Iterator[MetricsJob]:
    """The job, ready to run, its Prometheus port served."""
    job = MetricsJob(settings)
    job.serve()
    yield job


def read_report(settings: Settings, client: Client, by: By = "channel") -> Report:
    """The figures of all processes of the job, as Redis has them.

    Raises:
        Transient: Redis does not answer.
    """
    bundle = active_bundle(client, settings)
    held = RedisMetrics(client, settings.namespace).read()
    reference = open_reference(settings, bundle)
    return report(held, by, Rules.of(settings), Thresholds.of(settings), bundle=bundle, reference=reference)


class DriftWatch:
    """Looks at the merged figures every few seconds: a log line for each alert that is new, gauges for all."""

    def __init__(self, settings: Settings, client: Client, metrics: Metrics) -> None:
        self._settings, self._client, self._metrics = settings, client, metrics
        self._known: set[str] = set()
        self._next = 0.0

    def look(self) -> None:
        """Raises ``Transient`` when Redis does not answer."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + WATCH_S
        self.tell(read_report(self._settings, self._client).drift)

    def tell(self, drift: Drift) -> None:
        """Logs and exposes one state of things."""
        names = {alert.partition(":")[0]: alert for alert in drift.alerts}
        for name in names.keys() - self._known:
            log.warning("tag quality of bundle %s drifts: %s", drift.bundle, names[name])
        self._known = set(names)
        self._metrics.set("tagstream_tag_drift_alerts", len(names), bundle=drift.bundle or "")
        for name, measure in drift.windows[-1].measures.items() if drift.windows else ():
            self._metrics.set("tagstream_tag_drift", measure.psi, measure=name)
