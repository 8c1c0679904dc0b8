"""A batch from decoded to acknowledged: handle, publish, apply, with what each kind of failure asks for.

Runs in the engine's worker thread, so that the poll loop can keep the group membership meanwhile. Order of effects: dead letters
and publishes, flushed; then the stores; the commit is the engine's. After a ``Transient`` only the step that raised it is done again;
``handle`` runs again only for events whose write lost a compare-and-set, or in halves to find a poison item. An event that was sent again
from the dead letters and fails again does not count towards the dead letters in a row that stop a job: nobody's topic is being emptied.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from schemas.codec import encode, version_headers
from schemas.errors import DeadLettersExhausted, InvalidEvent, PoisonBatch, Transient
from schemas.events import Event
from schemas.records import Headers, Message
from schemas.writes import DEGRADED, GiveUp, KeepForUpgrade, Publish, PutProfile, Skip, Write
from streams.dead_letters import Failure, dead_letter_headers, sent_again_from
from streams.filling import Batch, Events
from streams.jobs import Counts, Job, Limits, PublishFailed, Stop
from streams.metrics import Metrics
from streams.roles import Gathered, Publisher, Store

E = TypeVar("E", bound=Event)
R = TypeVar("R")
CONFLICTS_BEFORE_PAUSE = 5
FIRST_PAUSE_S = 0.1
FLUSH_S = 2.0
log = logging.getLogger(__name__)


class Abandoned(Exception):
    """A stop came while a dependency was down: the batch is left as it is, uncommitted; whoever reads it next repeats it."""


class Finisher(Generic[E]):
    """Brings batches to their effects. ``waiting`` is True while a dependency is down; ``abandon`` ends such a wait."""

    def __init__(self, job: Job[E], publisher: Publisher, stores: Sequence[Store], limits: Limits, metrics: Metrics) -> None:
        self._job = job
        self._publisher = publisher
        self._stores = list(stores)
        self._limits = limits
        self._metrics = metrics
        self._refused_in_a_row = 0
        self._poison_in_a_row = 0
        self._stop = Stop()
        self.counts = Counts()
        self.waiting = False
        self.abandon = False

    def finish(self, batch: Batch, stop: Stop) -> None:
        """Returns when every effect of the batch is acknowledged.

        Raises:
            Abandoned: ``stop`` was requested while a dependency was down.
            DeadLettersExhausted: dead letters cannot be produced, or there are too many in a row.
        """
        self._stop = stop
        before = self.counts.dead_lettered
        seen = 0
        for refused in batch.refused:
            if refused.after > seen:
                self._refused_in_a_row, seen = 0, refused.after
            if not sent_again_from(refused.message.headers()):
                self._refused_in_a_row += 1
                self._check_in_a_row()
            self._bury(refused.message, Failure("invalid_event", refused.error.reason, f"{self._job.name}/decode", refused.error.field))
        if len(batch.events) > seen:
            self._refused_in_a_row = 0
        if batch.events:
            self._finish_events(batch.events)
        if batch.refused:
            self._flush()
        if dead := self.counts.dead_lettered - before:
            log.warning("%s: %d of %d events went to %s", self._job.name, dead, len(batch), self._job.topic.dead_letters)

    def _check_in_a_row(self) -> None:
        in_a_row = self._refused_in_a_row + self._poison_in_a_row
        if in_a_row >= self._limits.dead_letters_in_a_row:
            raise DeadLettersExhausted(
                f"{self._job.name}: {in_a_row} events in a row could not be processed; the job stops before it empties its topic. "
                "Look at `tagstream dead-letters list`, mend the cause, start again (limit: TAGSTREAM_DEAD_LETTERS_IN_A_ROW)"
            )

    def _finish_events(self, events: Gathered) -> None:
        """All of ``events``; where the batch cannot be handled as a whole, its halves in order, down to the single culprit. A job with a
        batch form of its own has no such batches: there the error ends the run."""
        try:
            good = len(events) - self._attempt(events)
        except (PoisonBatch, InvalidEvent) as error:
            if not isinstance(events, Events):
                raise
            if len(events) > 1:
                middle = len(events) // 2
                self._finish_events(Events(events[:middle]))
                self._finish_events(Events(events[middle:]))
                return
            if not sent_again_from(events[0].message.headers()):
                self._poison_in_a_row += 1
                self._check_in_a_row()
            field = error.field if isinstance(error, InvalidEvent) else ""
            self._bury(events[0].message, Failure("poison", str(error), self._job.name, field))
            self._flush()
            return
        if good:
            self._poison_in_a_row = 0
        self.counts.handled += good
        self._metrics.count("tagstream_events_handled_total", good, job=self._job.name)

    def _attempt(self, events: Gathered) -> int:
        """Handle and apply, again for lost compare-and-sets. Returns how many of ``events`` the handler gave up."""
        dead = 0
        attempts = 0
        redo = events
        while len(redo):
            with self._timed("handle"):
                writes = self._retry(lambda: self._job.handle(redo))  # noqa: B023 - called before the next turn
            dead += self._publish(writes, events)
            with self._timed("apply"):
                conflicts = self._apply(writes)
            redo = events.again(conflicts)
            if conflicts:
                self._metrics.count("tagstream_conflicts_total", len(conflicts), job=self._job.name)
                attempts += 1
                if attempts % CONFLICTS_BEFORE_PAUSE == 0:
                    contended = Transient("compare-and-set", f"{len(conflicts)} records are written by somebody else all the time")
                    self._pause(attempts // CONFLICTS_BEFORE_PAUSE, contended)
        return dead

    def _publish(self, writes: Sequence[Write], events: Gathered) -> int:
        """Publishes and dead letters, acknowledged. Returns how many of ``events`` are given up; one kept for an upgrade is not."""
        given_up: set[tuple[int, int]] = set()
        published = kept = 0
        for write in writes:
            if isinstance(write, Publish):
                published += 1
                self._produce(write.topic, write.key.encode(), encode(write.event), version_headers(write.event))
            elif isinstance(write, GiveUp):
                given_up.add((write.message.partition() or 0, write.message.offset() or 0))
                self._bury(write.message, Failure(write.reason, write.detail, self._job.name))
            elif isinstance(write, KeepForUpgrade):
                kept += 1
                self._to_dead_letters(write.message, Failure(DEGRADED, write.detail, self._job.name))
        if kept:
            self._metrics.count("tagstream_degraded_total", kept, job=self._job.name)
        if published or given_up or kept:
            self._flush()
        return sum(events.holds(partition, offset) for partition, offset in given_up)

    def _apply(self, writes: Sequence[Write]) -> list[PutProfile]:
        conflicts: list[PutProfile] = []
        for store in self._stores:
            mine = [write for write in writes if isinstance(write, store.accepts)]
            if mine:
                applied = self._retry(lambda: store.apply(mine))  # noqa: B023 - called before the next turn
                conflicts.extend(applied.conflicts)
                self._count_skip("stale", applied.stale)
        for write in writes:
            if isinstance(write, Skip):
                self._count_skip(write.reason, write.count)
        return conflicts

    def _count_skip(self, reason: str, count: int) -> None:
        if not count:
            return
        if reason == "applied":
            self.counts.skipped_as_applied += count
        elif reason == "stale":
            self.counts.stale += count
        self._metrics.count("tagstream_skipped_total", count, job=self._job.name, reason=reason)

    def _bury(self, message: Message, failure: Failure) -> None:
        """One event that is given up, to the dead letters, not yet acknowledged."""
        self._to_dead_letters(message, failure)
        self.counts.dead_lettered += 1
        self._metrics.count("tagstream_dead_letters_total", 1, job=self._job.name, reason=failure.reason)
        log.info("%s gives up %s: %s %s", self._job.name, failure.reason, failure.field, failure.detail)

    def _to_dead_letters(self, message: Message, failure: Failure) -> None:
        topic = self._job.topic.dead_letters
        try:
            self._produce(topic, message.key(), message.value(), dead_letter_headers(message, failure))
        except InvalidEvent as error:
            raise DeadLettersExhausted(f"{self._job.name}: a dead letter cannot be produced to {topic}: {error}") from error

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        self._retry(lambda: self._publisher.publish(topic, key, value, headers))

    def _flush(self) -> None:
        with self._timed("flush"):
            try:
                self._retry(lambda: self._publisher.flush(FLUSH_S))
            except PublishFailed as error:
                if any(topic == self._job.topic.dead_letters for topic, _ in error.refused):
                    raise DeadLettersExhausted(f"{self._job.name}: {error}") from error
                if error.too_large:
                    raise PoisonBatch(str(error)) from error
                raise

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._metrics.observe("tagstream_batch_seconds", time.perf_counter() - started, job=self._job.name, phase=phase)

    def _retry(self, step: Callable[[], R]) -> R:
        """``step`` until it does not raise ``Transient``."""
        attempt = 0
        while True:
            try:
                outcome = step()
            except Transient as error:
                attempt += 1
                self._pause(attempt, error)
            else:
                self.waiting = False
                return outcome

    def _pause(self, attempt: int, error: Transient) -> None:
        """Exponential back-off with jitter; the poll loop goes on meanwhile with its partitions paused."""
        self.waiting = True
        self._metrics.count("tagstream_retries_total", 1, job=self._job.name, dependency=error.dependency)
        delay_s = min(self._limits.retry_max_s, FIRST_PAUSE_S * 2 ** min(attempt, 30)) * random.uniform(0.5, 1.0)  # noqa: S311
        log.warning("%s waits %.1f s (attempt %d): %s", self._job.name, delay_s, attempt, error)
        until = time.monotonic() + delay_s
        while (left := until - time.monotonic()) > 0:
            if self._stop.requested or self.abandon:
                raise Abandoned
            time.sleep(min(left, 0.1))
