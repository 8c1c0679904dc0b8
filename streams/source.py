"""A member of a Kafka consumer group: records, partitions, commits (``Source`` on Kafka).

The group protocol is KIP-848 (``group.protocol=consumer``): the broker assigns, incrementally. Every start offset is decided here
(``streams/positions.py``), never by ``auto.offset.reset``, so that a gap or a recreated topic is seen and said instead of skipped.
The topic's id travels in the metadata of each commit.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.records import Message
from schemas.settings import Settings
from schemas.topics import source_id
from streams.client import ASK_S, admin_client, ask_patiently, ask_topic, client_config, topic_uuid, watermarks, within
from streams.positions import Start, start_at
from streams.roles import Listener

log = logging.getLogger(__name__)
MAX_POLL_INTERVAL_MS = 600_000
IDENTITY_CHECK_S = 5.0
COMMIT_S = 5.0
CLOSE_S = 8.0
MESSAGES = {
    "recreated": "%s/%d was deleted and created again since the last commit: reading the new topic from its start, offset %d",
    "truncated": "%s/%d ends before the committed offset: reading from its start, offset %d",
    "retention": "%s/%d lost records to retention before they were read: going on at offset %d",
}


class KafkaSource:
    """``Source`` on Kafka. ``firsts``: where the group begins in a partition of which it committed nothing; by default at its start."""

    def __init__(
        self, settings: Settings, topic: str, group_id: str, *, firsts: Mapping[int, int] | None = None, **properties: Any
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._group_id = group_id
        self._properties = properties
        self._firsts = firsts or {}
        self._listener: Listener | None = None
        self._consumer: Any = None
        self._admin: Any = None
        self._uuid = ""
        self._identity: Any = None
        self._identity_at = 0.0
        self._assigned: set[int] = set()
        self._ended: set[int] = set()
        self._starts: dict[int, int] = {}
        self._paused = False
        self._commit_failed = False
        self._asked = 0
        self._answers = 0
        self._held: list[Any] = []
        self._rebalancing = False

    @property
    def source_id(self) -> str:
        return source_id(self._topic, self._uuid)

    def open(self, listener: Listener) -> None:
        from confluent_kafka import Consumer

        self._listener = listener
        self._admin = admin_client(self._settings)
        self._uuid = topic_uuid(self._admin, self._topic)
        config = {
            "group.id": self._group_id,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
            "fetch.queue.backoff.ms": 20,
            "fetch.wait.max.ms": 100,
            "on_commit": self._on_commit,
        }
        self._consumer = Consumer(client_config(self._settings) | config | self._properties)
        self._consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def poll(self, limit: int, timeout_s: float, *, eager: bool) -> Sequence[Message]:
        self._check_identity()
        consumer = self._consumer
        chunk: list[Any]
        if self._held:
            chunk, self._held = self._held, []
        elif eager:
            first = consumer.poll(timeout_s)
            chunk = [] if first is None else [first, *(consumer.consume(limit - 1, 0) if limit > 1 else ())]
        else:
            chunk = consumer.consume(limit, timeout_s)
        if not chunk:
            return chunk
        errors = list(map(type(chunk[0]).error, chunk))
        if any(errors):  # never compared: a KafkaError next to None breaks `==`
            return self._without_errors(chunk, errors)
        if self._ended:
            self._ended.difference_update(map(type(chunk[0]).partition, chunk))
        return chunk

    def commit(self, positions: dict[int, int], *, wait: bool) -> bool:
        from confluent_kafka import KafkaException, TopicPartition

        offsets = [TopicPartition(self._topic, partition, offset, self._uuid) for partition, offset in positions.items()]
        try:
            if wait and self._rebalancing:
                return not any(answer.error for answer in self._consumer.commit(offsets=offsets, asynchronous=False))
            self._consumer.commit(offsets=offsets, asynchronous=True)
            self._asked += 1
            return not wait or self._await_commit()
        except KafkaException as error:
            log.warning("%s: commit failed, the records will be read again: %s", self._topic, error.args[0].str())
            return False

    def _await_commit(self) -> bool:
        """Waits for the answer in bounded time, where a synchronous commit blocks up to 46 s while the broker is away."""
        until = time.monotonic() + COMMIT_S
        while self._answers < self._asked and time.monotonic() < until:
            message = self._consumer.poll(0.05)
            if message is not None:
                self._held.append(message)
        return self._answers >= self._asked and not self.commit_failed()

    def commit_failed(self) -> bool:
        failed, self._commit_failed = self._commit_failed, False
        return failed

    def pause(self) -> None:
        self._paused = True
        self._consumer.pause(self._partitions(self._assigned))

    def resume(self) -> None:
        self._paused = False
        self._consumer.resume(self._partitions(self._assigned))

    def at_end(self) -> bool:
        return self._assigned <= self._ended

    def ended(self) -> frozenset[int]:
        return frozenset(self._assigned & self._ended)

    def lag(self) -> int:
        behind = 0
        for tp in self._consumer.position(self._partitions(self._assigned - self._ended)):
            low, high = self._consumer.get_watermark_offsets(tp, cached=True)
            behind += max(0, high - max(tp.offset, self._starts.get(tp.partition, 0), low))
        return behind

    def close(self) -> None:
        """Leaves the group. Takes 45 s in the client while no broker answers, so it is waited for in bounded time; then the process
        can end and the broker notices by the session timeout."""
        if self._consumer is None:
            return
        if not within(self._consumer.close, CLOSE_S):
            log.warning("%s: no broker answers to say goodbye to; leaving without", self._topic)
        self._consumer = None

    def _partitions(self, numbers: Sequence[int] | set[int]) -> list[Any]:
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._topic, number) for number in sorted(numbers)]

    def _without_errors(self, chunk: Sequence[Any], errors: Sequence[Any]) -> list[Any]:
        records: list[Any] = []
        for message, error in zip(chunk, errors, strict=True):
            if error is None:
                records.append(message)
                self._ended.discard(message.partition())
            else:
                self._note_error(message, error)
        return [message for message in records if message.partition() in self._assigned]

    def _note_error(self, message: Any, error: Any) -> None:
        from confluent_kafka import KafkaError, KafkaException

        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._ended.add(message.partition())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            self._restart([message.partition()])
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("%s: %s", self._topic, error.str())

    def _restart(self, partitions: Sequence[int]) -> None:
        """Positions that do not exist any more: reads on where the records begin now."""
        mine = [partition for partition in partitions if partition in self._assigned]
        self._take(mine, self._leave(mine))

    def _check_identity(self) -> None:
        """Asks now and then, without waiting, whether the topic is still the one it was."""
        from confluent_kafka import KafkaException

        if self._identity is None:
            if time.monotonic() - self._identity_at >= IDENTITY_CHECK_S and self._assigned:
                self._identity = ask_topic(self._admin, self._topic)
            return
        if not self._identity.done():
            return
        answer, self._identity, self._identity_at = self._identity, None, time.monotonic()
        try:
            uuid = str(answer.result().topic_id)
        except KafkaException as error:
            log.info("%s: its id could not be checked: %s", self._topic, error.args[0].str())
            return
        if uuid != self._uuid:
            self._follow_recreated(uuid)

    def _follow_recreated(self, uuid: str) -> None:
        mine = sorted(self._assigned)
        behind = self._leave(mine)
        self._uuid = uuid
        self._take(mine, behind)

    def _leave(self, partitions: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Lets go of partitions without leaving the group. Returns position and topic id of each."""
        assert self._listener is not None
        behind = {
            tp.partition: (max(tp.offset, self._starts.pop(tp.partition, 0)), self._uuid)
            for tp in self._consumer.position(self._partitions(partitions))
        }
        self._listener.on_lost(partitions)
        self._held = [message for message in self._held if message.partition() not in partitions]
        self._consumer.incremental_unassign(self._partitions(partitions))
        self._assigned.difference_update(partitions)
        self._ended.difference_update(partitions)
        return behind

    def _on_assign(self, _consumer: Any, partitions: list[Any]) -> None:
        assert self._listener is not None
        self._uuid = ask_patiently(lambda: topic_uuid(self._admin, self._topic, ASK_S))
        committed = ask_patiently(lambda: self._consumer.committed(partitions, timeout=ASK_S))
        known = {tp.partition: (tp.offset, tp.metadata or "") for tp in committed if tp.offset >= 0 and tp.error is None}
        self._take([tp.partition for tp in partitions], known)

    def _take(self, numbers: Sequence[int], committed: dict[int, tuple[int, str]]) -> None:
        """Assigns partitions at offsets that are sure to exist and to belong to this topic."""
        assert self._listener is not None
        chosen = self._partitions(numbers)
        for tp in chosen:
            low, end = watermarks(self._consumer, self._topic, tp.partition)
            offset, metadata = committed.get(tp.partition, (self._firsts.get(tp.partition), ""))
            start = start_at(low, end, offset, metadata, self._uuid)
            self._say(tp.partition, start)
            tp.offset = self._starts[tp.partition] = start.offset
        self._consumer.incremental_assign(chosen)
        self._assigned.update(numbers)
        self._ended.difference_update(numbers)
        if self._paused:
            self._consumer.pause(chosen)
        else:
            self._consumer.resume(chosen)
        self._identity_at = time.monotonic()
        self._listener.on_assign(numbers)

    def _say(self, partition: int, start: Start) -> None:
        if start.why in MESSAGES:
            missed = f"; {start.missed} records were never read" if start.missed else ""
            log.warning(MESSAGES[start.why] + "%s", self._topic, partition, start.offset, missed)

    def _on_revoke(self, _consumer: Any, partitions: list[Any]) -> None:
        self._give_up(partitions, lost=False)

    def _on_lost(self, _consumer: Any, partitions: list[Any]) -> None:
        self._give_up(partitions, lost=True)

    def _give_up(self, partitions: list[Any], *, lost: bool) -> None:
        assert self._listener is not None
        numbers = [tp.partition for tp in partitions]
        self._rebalancing = True  # nothing can be polled in here, so commits have to be synchronous
        try:
            (self._listener.on_lost if lost else self._listener.on_revoke)(numbers)
        finally:
            self._rebalancing = False
        self._held = [message for message in self._held if message.partition() not in numbers]
        self._consumer.incremental_unassign(partitions)
        self._assigned.difference_update(numbers)
        self._ended.difference_update(numbers)

    def _on_commit(self, error: Any, partitions: list[Any]) -> None:
        self._answers += 1
        if error is not None or any(tp.error for tp in partitions):
            self._commit_failed = True
            log.info("%s: commit failed and is repeated: %s", self._topic, error or [tp.error for tp in partitions if tp.error])
