"""The faust app of the metrics: four agents, three tables, and the figures told to a sink and a compacted topic.

faust brings the consumer group, the partition assignment, and tables with their recovery from changelog topics. Batches, offsets and the
order of effects are ``streams/metrics_desk.py``; what is counted and how, ``streams/metric_steps.py`` and below.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from schemas.errors import BadSetting, MissingPrerequisite, TagStreamError, Transient
from schemas.settings import Settings
from schemas.topics import INTERACTIONS, METRICS, METRICS_BY_NOTE, NOTE_EVENTS, NOTE_TAGGED, OWN, Topic
from streams.client import admin_client, topic_uuid
from streams.groups import behind
from streams.jobs import Counts, Stop
from streams.metric_order import Stalled, order_of
from streams.metric_steps import JOB, FactStep, Fold, NoteStep, ReaderStep, Step, TagStep
from streams.metric_windows import Rules
from streams.metrics_desk import Desk, Sent
from streams.tag_drift import Quality, Thresholds
from streams.topics_admin import create_topics, describe_topics

log = logging.getLogger(__name__)
TELL_S = 1.0
TELL_ALL_S = 60.0
SESSION_S = 6.0
TICK_S = 0.1
STALLED_S = 20.0
READS = (INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, METRICS_BY_NOTE)


class Stall:
    """Watches for records that are not committed though nothing came for ``after_s``.

    After a rebalance faust (0.15.3, seen once after a SIGKILL on 2 cores) can stop committing a partition for good: its chain of acked
    offsets has a gap. What was applied stays applied, so a new app goes on from the last commit and counts nothing twice.
    """

    def __init__(self, behind: Callable[[], int], after_s: float = STALLED_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._behind, self._after_s, self._clock = behind, after_s, clock
        self._looked_at = clock()

    def check(self, moved: float) -> None:
        """Raises ``Stalled``; ``moved``: when something came last, by the clock."""
        now = self._clock()
        if now - moved < self._after_s or now - self._looked_at < self._after_s:
            return
        self._looked_at = now
        if left := self._behind():
            raise Stalled(f"{left} records are not committed and nothing came for {now - moved:.0f} s")


class Sink(Protocol):
    """Takes figures: for each table and partition, cells by name as JSON; None removes one."""

    def put(self, table: str, partition: int, cells: Mapping[str, bytes | None]) -> None:
        """Raises ``Transient`` when the store does not answer; the same cells, newer by then, are put again."""


class Injected(Struct, frozen=True):
    """What the app gets from above. ``given``: whether there is tag quality to compare a bundle with, so that its first notes need not
    become that; ``told``: called after figures were put."""

    sink: Sink
    quality: Quality
    given: Callable[[str], bool]
    told: Callable[[], None] = lambda: None


class TableRows:
    """A faust table as rows: written through the changelog, by partition."""

    def __init__(self, app: Any, name: str, partitions: int) -> None:
        self._table = app.Table(name, partitions=partitions, key_type=bytes, value_type=bytes)
        self.changelog = f"{app.conf.id}-{name}-changelog"

    @property
    def held(self) -> dict[bytes, bytes]:
        """The rows in memory, those of all assigned partitions."""
        rows: dict[bytes, bytes] = self._table.data.data
        return rows


class MetricsApp:
    """The job ``metrics``. Made within a running event loop.

    Raises:
        MissingPrerequisite: a topic does not exist or has other partitions than its changelog.
        Transient: no broker answers.
    """

    def __init__(self, settings: Settings, injected: Injected) -> None:
        self._settings, self._injected = settings, injected
        self._names = {topic.name: topic.within(settings.namespace).name for topic in (*READS, METRICS)}
        partitions = _partitions(settings)
        self.app = _faust_app(settings)
        self.desks: list[Desk] = []
        self._sources: list[str] = []
        self.ready = False
        self._moved = self._told_all = time.monotonic()
        self._telling, self._ending = asyncio.Lock(), asyncio.Event()
        rules = Rules.of(settings)
        targets = partitions[METRICS_BY_NOTE.name]
        identity = topic_uuid(admin_client(settings), self._names[INTERACTIONS.name])[:8]
        first = -(-settings.metrics_drift_notes // partitions[NOTE_TAGGED.name])
        self._add(INTERACTIONS, ReaderStep(rules, identity, targets), partitions)
        self._add(NOTE_EVENTS, FactStep(targets), partitions)
        self._add(METRICS_BY_NOTE, NoteStep(rules), partitions)
        tags = TagStep(rules, Thresholds.of(settings).window_ms, injected.quality, first=first, given=injected.given)
        self._add(NOTE_TAGGED, tags, partitions)
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.on_rebalance_complete.connect(self._recovered)

    @property
    def counts(self) -> Counts:
        """What this run did; the events by note are not counted once more."""
        total = Counts()
        for desk in self.desks:
            for name in total.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(desk.counts, name))
        return total

    async def run(self, stop: Stop, until_idle: float | None = None) -> Counts:
        """Runs until the stop is requested or, with ``until_idle``, all is read and nothing came for so many seconds.

        Raises:
            Transient: Kafka does not answer any more, or the app ended by itself.
            DeadLettersExhausted: too many events in a row cannot be processed.
        """
        work = [asyncio.create_task(desk.run()) for desk in self.desks]
        stall = Stall(self._behind)
        await self.app.start()
        tell = asyncio.create_task(self._tell_on())
        try:
            while not stop.requested and not (until_idle is not None and await self._idle(until_idle)):
                await asyncio.sleep(TICK_S)
                self._check()
                if tell.done():
                    break
                if self.ready:
                    await asyncio.to_thread(stall.check, self._moved)
        finally:
            self._ending.set()  # a put under way in a thread must end before the last one, so nothing is cancelled
            await asyncio.gather(tell, return_exceptions=True)
            await self.app.stop()  # faust's own order: streams empty, offsets committed, producer flushed
            for task in work:
                task.cancel()
        self._check(tell.exception())
        with suppress(Transient):
            await self._tell(to_topic=False)
        return self.counts

    def _add(self, topic: Topic, step: Step, partitions: Mapping[str, int]) -> None:
        """An agent: a few lines, all else is the desk's."""
        source = self.app.topic(self._names[topic.name], key_serializer="raw", value_serializer="raw")
        rows = TableRows(self.app, step.table, partitions[topic.name]) if step.table else None
        within = topic.within(self._settings.namespace)
        desk = Desk(
            step,
            rows,
            self._send,
            by_note=self._names[METRICS_BY_NOTE.name],
            dead_letters=within.dead_letters,
            size=self._settings.metrics_batch,
            in_a_row=self._settings.dead_letters_in_a_row,
            order=order_of(self._settings, JOB, self._names[topic.name]),
        )
        self.desks.append(desk)
        self._sources.append(self._names[topic.name])

        async def agent(stream: Any) -> None:
            manual = stream.noack()
            async for event in manual.events():
                if not await desk.take(manual, event):
                    self.app.consumer.unacked.discard(event.message)  # else faust waits for its ack whenever it stops

        self.app.agent(source, name=f"{JOB}-{topic.name}")(agent)

    async def _send(self, records: Sequence[Sent]) -> None:
        self._moved = time.monotonic()
        if records:
            producer = self.app.producer
            sent = [await producer.send(topic, key, value, at, None, headers or None) for topic, key, value, at, headers in records]
            await asyncio.gather(*sent)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """faust has waited for what was under way; now partitions move and tables are recovered."""
        self.ready = False
        for desk in self.desks:
            desk.hold()

    async def _recovered(self, *_: Any, **__: Any) -> None:
        assigned = self.app.consumer.assignment()
        for desk, topic in zip(self.desks, self._sources, strict=True):
            desk.resume({tp.partition for tp in assigned if tp.topic == topic})
        self.ready = True
        self._moved = time.monotonic()

    async def _tell_on(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TELL_S)
            await self._tell()

    async def _tell(self, *, to_topic: bool = True) -> bool:
        """Puts what changed since the last time to the sink and the output topic; what the sink cannot take waits. Once in a while the sink
        gets everything, so that one that was emptied, or that a process without its partitions wrote to, is right again.

        Returns:
            Whether all is told: not while partitions move, nor while the sink does not answer.
        """
        async with self._telling:
            if not self.ready:
                return False
            whole = time.monotonic() - self._told_all > TELL_ALL_S
            for desk in self.desks:
                for partition, fold in list(desk.folds.items()):
                    if not await self._tell_fold(str(desk.step.table), partition, fold, whole=whole, to_topic=to_topic):
                        return False
            if whole:
                self._told_all = time.monotonic()
            with suppress(Transient):
                await asyncio.to_thread(self._injected.told)
            return self.ready

    async def _tell_fold(self, table: str, partition: int, fold: Fold, *, whole: bool, to_topic: bool) -> bool:
        """Tells one partition's sums; False when the sink does not answer."""
        cells = fold.take()
        put = fold.all() | cells if whole else cells
        try:
            if put:
                await asyncio.to_thread(self._injected.sink.put, table, partition, put)
            if cells and to_topic:
                prefix = f"{table}/{partition}/"
                await self._send([(self._names[METRICS.name], (prefix + name).encode(), value, 0, []) for name, value in cells.items()])
        except Transient as error:
            fold.again(cells)
            log.warning("metrics: figures wait: %s", error)
            return False
        return True

    async def _idle(self, seconds: float) -> bool:
        if not self.ready or time.monotonic() - self._moved < seconds:
            return False
        if await asyncio.to_thread(self._behind):
            return False
        return await self._tell() and time.monotonic() - self._moved >= seconds

    def _behind(self) -> int:
        """Records of the topics that are not committed."""
        return sum(behind(self._settings, JOB, self._names[topic.name]) for topic in READS)

    def _check(self, telling: BaseException | None = None) -> None:
        for failed in (*(desk.failed for desk in self.desks), telling):
            if failed is not None:
                raise failed if isinstance(failed, TagStreamError) else Transient("kafka", repr(failed))
        if self.app.crashed:
            raise Transient("kafka", f"the faust app ended: {self.app._crash_reason!r}")


def _partitions(settings: Settings) -> dict[str, int]:
    """Partitions by topic; the job's own topics are made where they are missing, as faust crashes on absent ones."""
    create_topics(settings, [topic.within(settings.namespace) for topic in OWN])
    topics = list({topic.name: topic for topic in (*READS, *OWN)}.values())
    states = describe_topics(settings, [topic.within(settings.namespace) for topic in topics])
    found = {topic.name: state.partitions for topic, state in zip(topics, states, strict=True)}
    for table, topic in (("readers", INTERACTIONS), ("notes", METRICS_BY_NOTE), ("tags", NOTE_TAGGED)):
        changelog = f"tagstream-{JOB}-{table}-changelog"
        if found[changelog] != found[topic.name]:
            raise MissingPrerequisite(
                f"topic {topic.name} has {found[topic.name]} partitions, {changelog} {found[changelog]}; give both the same number"
            )
    return found


def _faust_app(settings: Settings) -> Any:
    import faust

    group = f"tagstream-{JOB}"
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    directory = Path(settings.data, "faust")
    directory.mkdir(parents=True, exist_ok=True)
    servers = [f"aiokafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")]
    return faust.App(
        f"{settings.namespace}.{group}" if settings.namespace else group,
        broker=servers,
        broker_credentials=_credentials(settings),
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 3,
        broker_commit_interval=0.5,
        broker_max_poll_interval=600.0,
        consumer_max_fetch_size=8 * 1024 * 1024,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_compression_type="lz4",
        producer_max_request_size=8 * 1024 * 1024,
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        datadir=directory,
        table_standby_replicas=0,
        table_cleanup_interval=3600.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        stream_buffer_maxsize=4096,
        stream_wait_empty=True,
    )


def _credentials(settings: Settings) -> Any:
    """faust's credentials from the librdkafka properties of the settings.

    Raises:
        BadSetting: a property that has no counterpart here.
    """
    import faust

    given = dict(pair.strip().partition("=")[::2] for pair in settings.kafka_security.split(";") if pair.strip())
    known = {"security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "ssl.ca.location"}
    if unknown := sorted(given.keys() - known):
        raise BadSetting(f"TAGSTREAM_KAFKA_SECURITY: {unknown[0]} is not taken by the metrics job, only {', '.join(sorted(known))}")
    protocol = given.get("security.protocol", "PLAINTEXT").upper()
    context = ssl.create_default_context(cafile=given.get("ssl.ca.location")) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL"):
        mechanism = given.get("sasl.mechanism") or given.get("sasl.mechanisms") or "PLAIN"
        return faust.SASLCredentials(
            username=given.get("sasl.username"), password=given.get("sasl.password"), ssl_context=context, mechanism=mechanism
        )
    return faust.SSLCredentials(context=context) if context else None
