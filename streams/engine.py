"""The only loop: poll, fill a batch to size or age, handle, apply, flush, dead letters, commit.

Read ``run`` from top to bottom. Two threads share the work. This one polls and owns all that concerns the group: partitions,
positions, commits. A worker thread (``streams/finishing.py``) brings one batch at a time to its effects. While it takes long, or waits
for a dependency that is down, the partitions are paused and polling goes on, so the broker never takes the job for dead
(max.poll.interval.ms) and rebalances are answered. That works for a batch of any length; a generous interval would only move the limit.

| raised in the worker | here |
|---|---|
| ``InvalidEvent``, ``PoisonBatch`` | never arrive: dead letters, by bisection |
| ``Transient`` | never arrives: paused and retried |
| ``DeadLettersExhausted`` and anything else | the run ends with it, the batch uncommitted |
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Generic, TypeVar

from schemas.events import Event
from streams.filling import Batch, Filling
from streams.finishing import Abandoned, Finisher
from streams.jobs import Counts, Job, Limits, PublishFailed, Stop, stop_on_signals
from streams.metrics import Metrics
from streams.progress import Progress, Ticket
from streams.roles import Applied, Publisher, Source, Store

__all__ = ["Applied", "Counts", "Engine", "Job", "Limits", "PublishFailed", "Stop", "Store", "stop_on_signals"]

E = TypeVar("E", bound=Event)
POLL_S = 0.2
CHUNK = 1000
LAG_INTERVAL_S = 5.0
COLLECT_INTERVAL_S = 5.0
log = logging.getLogger(__name__)


class Engine(Generic[E]):
    """Runs one job in one process; start more processes to spread partitions. An engine runs once."""

    def __init__(
        self,
        job: Job[E],
        source: Source,
        publisher: Publisher,
        stores: Sequence[Store],
        *,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        assert job.topic.event is not None, "a dead-letter topic has no event type to consume"
        self._job = job
        self._source = source
        self._limits = limits or Limits()
        self._metrics = metrics or Metrics()
        self._finisher: Finisher[E] = Finisher(job, publisher, stores, self._limits, self._metrics)
        self._filling: Filling[E] = Filling(job.topic.event, job.gather)  # type: ignore[arg-type]
        self._progress = Progress()
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix=job.name)
        self._in_hand: tuple[futures.Future[None], Ticket] | None = None
        self._ended = False
        self._assigned_once = False
        self._active_at = 0.0
        self._committed_at = 0.0
        self._lag_at = 0.0
        self._collected_at = time.monotonic()

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return self._finisher.counts

    def run(self, stop: Stop, until_idle_s: float | None = None, fed: Callable[[], bool] = lambda: False) -> Counts:
        """Consumes until ``stop`` is requested or, with ``until_idle_s``, until all is read and nothing came for so long.

        Args:
            stop: ends it.
            until_idle_s: seconds.
            fed: whether somebody is still at work on what this job is to read; the seconds begin after that.

        Raises:
            DeadLettersExhausted: dead letters cannot be produced, or too many came in a row.
            MissingPrerequisite: the topic does not exist.
            Exception: whatever a handler or store raised that the design does not know; nothing of its batch is committed.
        """
        with self._membership(), _collecting_between_batches():
            while not stop.requested:
                self._fill(stop)
                if len(self._filling) and not stop.requested:
                    self._finish(self._filling.take(), stop)
                elif fed():
                    self._active_at = time.monotonic()
                elif until_idle_s is not None and self._idle_for() >= until_idle_s:
                    break
                self._commit_when_due()
                self._report_lag()
                self._collect_when_due()
        return self._finisher.counts

    @contextmanager
    def _membership(self) -> Iterator[None]:
        """In the group within the block. An orderly end commits what is finished; an exception ends without another commit."""
        self._source.open(self)
        self._active_at = time.monotonic()
        try:
            yield
            self._commit(wait=True)
        finally:
            self._ended = self._finisher.abandon = True
            self._worker.shutdown()
            self._source.close()

    def _fill(self, stop: Stop) -> None:
        """Polls until the batch has its size or its age, at once when nothing comes."""
        job, filling = self._job, self._filling
        if not len(filling):
            self._poll(POLL_S, eager=True)
        until = time.monotonic() + job.batch_age_s
        while 0 < len(filling) < job.batch_size and not stop.requested:
            left = until - time.monotonic()
            if left <= 0:
                break
            self._poll(min(left, POLL_S), eager=False)

    def _poll(self, timeout_s: float, *, eager: bool) -> None:
        room = max(1, min(CHUNK, self._job.batch_size - len(self._filling)))
        chunk = self._source.poll(room, timeout_s, eager=eager)
        if chunk:
            self._active_at = time.monotonic()
            self._filling.add(chunk, self._source.source_id, self._progress.partitions)

    def _finish(self, batch: Batch, stop: Stop) -> None:
        """Has the worker finish the batch and keeps the membership meanwhile."""
        self._metrics.observe("tagstream_batch_size", len(batch), job=self._job.name)
        ticket = self._progress.take(batch.last)
        future = self._worker.submit(self._finisher.finish, batch, stop)
        self._in_hand = future, ticket
        try:
            futures.wait([future], self._limits.patience_s)
            if not future.done():
                self._poll_paused(future)
            self._settle()
            future.result()
        except Abandoned:
            log.warning("%s: stopped while a dependency was down; the batch in hand stays uncommitted", self._job.name)
        finally:
            self._in_hand = None
            self._active_at = time.monotonic()

    def _poll_paused(self, future: futures.Future[None]) -> None:
        self._source.pause()
        try:
            while not future.done():
                self._metrics.set("tagstream_paused", float(self._finisher.waiting), job=self._job.name)
                self._poll(POLL_S / 2, eager=True)
                self._commit_when_due()
        finally:
            self._metrics.set("tagstream_paused", 0.0, job=self._job.name)
            self._source.resume()

    def _settle(self) -> None:
        """Marks the batch in hand finished if the worker brought it to its end."""
        if self._in_hand is not None:
            future, ticket = self._in_hand
            if future.done() and future.exception() is None:
                self._progress.finish(ticket)

    def on_assign(self, partitions: Sequence[int]) -> None:
        """New partitions: positions start afresh."""
        self._progress.assign(partitions)
        self._assigned_once = True
        self._active_at = time.monotonic()

    def on_revoke(self, partitions: Sequence[int]) -> None:
        """Partitions go in order: the batch in hand is finished if that takes no longer than ``settle_s`` and no dependency is down,
        what is finished is committed, what is polled and not begun is left to the next owner."""
        self._filling.drop(set(partitions))
        if self._in_hand is not None and not self._in_hand[1].partitions.isdisjoint(partitions):
            future, _ = self._in_hand
            until = time.monotonic() + self._limits.settle_s
            while not future.done() and not self._finisher.waiting and (left := until - time.monotonic()) > 0:
                futures.wait([future], min(left, 0.1))
            self._settle()
        if not self._ended:
            self._commit(wait=True, partitions=partitions)
        self._progress.revoke(partitions)

    def on_lost(self, partitions: Sequence[int]) -> None:
        """Partitions are gone already; somebody else may have committed further, so nothing is committed."""
        log.warning("%s lost partitions %s; whoever has them repeats what was not committed", self._job.name, list(partitions))
        self._filling.drop(set(partitions))
        self._progress.revoke(partitions)

    def _commit_when_due(self) -> None:
        if time.monotonic() - self._committed_at >= self._limits.commit_interval_s:
            self._commit(wait=False)

    def _commit(self, *, wait: bool, partitions: Sequence[int] | None = None) -> None:
        if self._source.commit_failed():
            self._progress.forget_commits()
        positions = self._progress.to_commit(partitions)
        if positions and self._source.commit(positions, wait=wait):
            self._progress.committed(positions)
        self._committed_at = time.monotonic()

    def _idle_for(self) -> float:
        """Seconds since anything happened; 0 before the first assignment and while there is more to read."""
        if not self._assigned_once or not self._source.at_end():
            return 0.0
        return time.monotonic() - self._active_at

    def _report_lag(self) -> None:
        if time.monotonic() - self._lag_at >= LAG_INTERVAL_S:
            self._lag_at = time.monotonic()
            self._metrics.set("tagstream_lag", self._source.lag(), job=self._job.name)

    def _collect_when_due(self) -> None:
        if time.monotonic() - self._collected_at >= COLLECT_INTERVAL_S:
            gc.collect()
            self._collected_at = time.monotonic()


@contextmanager
def _collecting_between_batches() -> Iterator[None]:
    """No garbage collection while a batch lives: 100,000 records that cannot be garbage were traversed again and again, at more cost than
    all else here together. ``_collect_when_due`` does it between batches; what was built before the run is left out."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
