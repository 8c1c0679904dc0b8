"""What a replay is to read: from where to where in each partition, where it goes on after a kill, what retention took before it began."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from schemas.errors import BadSetting, MissingPrerequisite, Transient
from schemas.settings import Settings
from streams.client import ASK_S, admin_client, ask_patiently, client_config, topic_uuid, watermarks
from streams.positions import start_at
from streams.scan import CONFIG

Bound = int | Mapping[int, int] | None
"""Epoch ms, or offsets by partition, or None: the beginning, or the end."""


class Part(Struct, frozen=True):
    """One partition of a replay, in offsets.

    ``first``: where the replay is to begin; ``start``: where it begins now, behind what its group committed; ``stop``: first one not to be
    read, None for no bound; ``end``: of the partition now. ``missing``: records between what was wanted and what is still there, None for
    an unknown number.
    """

    partition: int
    first: int
    start: int
    stop: int | None
    end: int
    missing: int | None = 0

    @property
    def left(self) -> int:
        """Records from ``start`` to where reading ends as things stand."""
        return max(0, (self.end if self.stop is None else min(self.stop, self.end)) - self.start)


class Plan(Struct, frozen=True):
    """All partitions of a topic. ``resumed``: the group had committed something."""

    topic: str
    parts: list[Part]
    resumed: bool

    @property
    def left(self) -> int:
        """Records to be read."""
        return sum(part.left for part in self.parts)

    @property
    def firsts(self) -> dict[int, int]:
        """Where reading begins in a partition of which the group committed nothing."""
        return {part.partition: part.start for part in self.parts}

    @property
    def stops(self) -> dict[int, int]:
        """The bounds, where there are any."""
        return {part.partition: part.stop for part in self.parts if part.stop is not None}

    @property
    def gaps(self) -> list[Part]:
        """Partitions of which retention took something wanted."""
        return [part for part in self.parts if part.missing != 0]

    def check_gaps(self) -> None:
        """Raises ``MissingPrerequisite`` that names what is gone."""
        if self.gaps:
            taken = [(part, "some" if part.missing is None else f"{part.missing:,}") for part in self.gaps]
            lines = [f"{self.topic}/{part.partition}: {count} records before offset {part.start}" for part, count in taken]
            raise MissingPrerequisite(
                f"retention took records that the replay is to read: {'; '.join(lines)}. Begin later with --from, or go on without them "
                "with --allow-gap"
            )


def plan_replay(settings: Settings, topic: str, group: str, since: Bound = None, until: Bound = None) -> Plan:
    """Asks the broker.

    Args:
        topic: name within the namespace.
        group: the replay's consumer group.
        since: where to begin.
        until: where to end, exclusive; None is the end, and on with what is being produced until caught up.

    Raises:
        BadSetting: an offset is given for a partition that does not exist.
        MissingPrerequisite: the topic does not exist.
        Transient: no broker answers.
    """
    from confluent_kafka import Consumer, KafkaException

    uuid = topic_uuid(admin_client(settings), topic)
    consumer = Consumer(client_config(settings) | CONFIG | {"group.id": group})
    try:
        numbers = sorted(consumer.list_topics(topic, timeout=ASK_S).topics[topic].partitions)
        for name, bound in (("--from", since), ("--to", until)):
            if isinstance(bound, Mapping) and (unknown := sorted(set(bound) - set(numbers))):
                raise BadSetting(f"{name}: {topic} has no partition {unknown[0]}; it has {numbers[0]} to {numbers[-1]}")
        asked = _Asked(consumer, topic, uuid, since, until)
        committed = _committed(consumer, topic, numbers)
        return Plan(topic, [asked.part(number, committed.get(number)) for number in numbers], bool(committed))
    except KafkaException as error:
        raise Transient("kafka", error.args[0].str()) from None
    finally:
        consumer.close()


def _committed(consumer: Any, topic: str, numbers: list[int]) -> dict[int, tuple[int, str]]:
    from confluent_kafka import TopicPartition

    asked = [TopicPartition(topic, number) for number in numbers]
    answers = ask_patiently(lambda: consumer.committed(asked, timeout=ASK_S))  # a broker that has just started has no coordinator yet
    return {one.partition: (one.offset, one.metadata or "") for one in answers if one.offset >= 0 and one.error is None}


class _Asked(NamedTuple):
    """The broker, and what is wanted of a topic."""

    consumer: Any
    topic: str
    uuid: str
    since: Bound
    until: Bound

    def part(self, number: int, committed: tuple[int, str] | None) -> Part:
        """One partition; ``committed``: next offset and metadata of the group."""
        low, end = watermarks(self.consumer, self.topic, number)
        wanted = self._offset(number, self.since, 0, end)
        stop = None if self.until is None else min(self._offset(number, self.until, end, end), end)
        first = min(max(wanted, low), end)
        if committed is not None:
            begun = start_at(low, end, committed[0], committed[1], self.uuid)
            if begun.why in ("committed", "retention"):
                return Part(number, first, begun.offset, stop, end, begun.missed)
        return Part(number, first, first, stop, end, _missing(self.since, wanted, low))

    def _offset(self, number: int, bound: Bound, otherwise: int, end: int) -> int:
        from confluent_kafka import TopicPartition

        if bound is None:
            return otherwise
        if isinstance(bound, Mapping):
            return bound.get(number, otherwise)
        asked = [TopicPartition(self.topic, number, max(0, bound))]
        (found,) = ask_patiently(lambda: self.consumer.offsets_for_times(asked, timeout=ASK_S))
        return int(found.offset) if found.offset >= 0 else end


def _missing(since: Bound, wanted: int, low: int) -> int | None:
    """Records that retention took of what was wanted. By time nobody can tell once the first record left is the first one wanted."""
    if isinstance(since, int):
        return None if low > 0 and wanted == low else 0
    return max(0, low - wanted)
