"""The desk between faust and the steps: whatever send a crash interrupts, the figures after recovery are those of a run without one."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings, strategies

from schemas.codec import encode, version_headers
from schemas.errors import DeadLettersExhausted
from streams.dead_letters import read_dead_letter
from streams.metric_order import Order, Stalled
from streams.metric_report import report
from streams.metric_steps import NoteStep, ReaderStep
from streams.metric_windows import NoteFacts
from streams.metrics_desk import Desk, record_of
from tests.streams.test_metric_windows import RULES, THRESHOLDS, event


class Crash(Exception):
    """The process is gone."""


class Broker:
    """Topics as lists. A crash takes effect within a send: the first ``spare`` records of the batch still arrive."""

    def __init__(self):
        self.topics = {}
        self.sends_left, self.spare = None, 0

    async def send(self, records):
        if self.sends_left is not None:
            self.sends_left -= 1
            if self.sends_left < 0:
                records = records[: self.spare]
        for topic, key, value, _partition, headers in records:
            self.topics.setdefault(topic, []).append((key, value, headers))
        if self.sends_left is not None and self.sends_left < 0:
            raise Crash


class Rows:
    """A table as recovery leaves it."""

    def __init__(self, broker, changelog):
        self.changelog, self.held = changelog, {}
        for key, value, _ in broker.topics.get(changelog, []):
            if value is None:
                self.held.pop(key, None)
            else:
                self.held[key] = value


class Source:
    """A partition with a committed position."""

    def __init__(self):
        self.committed = 0

    async def ack(self, taken):
        assert taken.message.offset == self.committed, "acks go in order"
        self.committed += 1


def message(topic, offset, key, value, headers=()):
    return SimpleNamespace(
        message=SimpleNamespace(topic=topic, partition=0, offset=offset, key=key, value=value, headers=list(headers), timestamp=2e10)
    )


async def life(broker, sources, events, size):
    """One process: recovers, reads from the committed positions to the end, or dies on the way. Returns its desks, or None."""
    desks = {}
    for topic, step, changelog in (("i", ReaderStep(RULES, "x", 1), "readers"), ("by", NoteStep(RULES), "notes")):
        desks[topic] = Desk(step, Rows(broker, changelog), broker.send, by_note="by", dead_letters=f"{topic}-dead", size=size)
        desks[topic].resume({0})
    for topic, desk in desks.items():
        log = events if topic == "i" else [(key, value) for key, value, _ in broker.topics.get("by", [])]
        waiting = [(sources[topic], message(topic, offset, *log[offset])) for offset in range(sources[topic].committed, len(log))]
        for start in range(0, len(waiting), size):
            try:
                await desk._work(waiting[start : start + size])
            except Crash:
                return None
    return desks


def figures(desks):
    cells = {}
    for desk in desks.values():
        told = {partition: fold.take() for partition, fold in desk.folds.items()}
        cells[desk.step.table] = {number: {name: value for name, value in of.items() if value is not None} for number, of in told.items()}
    return report(cells, "channel", RULES, THRESHOLDS)


logs = strategies.lists(
    strategies.builds(
        lambda number, action, at, user: event(number, action, 20_000 * 86_400_000 + at, f"u{user}"),
        strategies.integers(0, 25),
        strategies.sampled_from(["impression", "click", "like", "view"]),
        strategies.integers(0, 6 * 3_600_000),
        strategies.integers(0, 3),
    ),
    min_size=1,
    max_size=30,
)


crash_points = strategies.lists(strategies.tuples(strategies.integers(0, 12), strategies.integers(0, 5)), max_size=4)


@settings(max_examples=150)
@given(logs, strategies.integers(1, 8), crash_points)
def test_a_crash_in_any_send_changes_no_figure(log, size, crashes):
    events = [(one.user_id.encode(), encode(one)) for one in log]

    async def without():
        return figures(await life(Broker(), {"i": Source(), "by": Source()}, events, 100))

    async def with_crashes():
        broker, sources = Broker(), {"i": Source(), "by": Source()}
        for broker.sends_left, broker.spare in crashes:
            await life(broker, sources, events, size)
        broker.sends_left = None
        desks = await life(broker, sources, events, size)
        assert sources["i"].committed == len(events)
        return figures(desks)

    found = asyncio.run(with_crashes())
    assert found == asyncio.run(without())
    assert found.as_of == max(one.occurred_at for one in log)


def test_what_makes_the_step_fail_is_found_and_the_rest_counts():
    class Picky(NoteStep):
        def decide(self, partition, records, held, fold):
            if any(record.value == b"poison" for record in records):
                raise ZeroDivisionError("no")
            decided = super().decide(partition, [], held, fold)
            decided.counts.handled = len(records)
            return decided

    async def work():
        broker, source = Broker(), Source()
        desk = Desk(Picky(RULES), Rows(broker, "notes"), broker.send, by_note="by", dead_letters="dead", size=10, in_a_row=2)
        desk.resume({0})
        taken = [message("by", offset, b"k", value, [("h", b"1")]) for offset, value in enumerate([b"a", b"poison", b"b"])]
        await desk._work([(source, one) for one in taken])
        assert (desk.counts.handled, desk.counts.dead_lettered, source.committed) == (2, 1, 3)
        ((key, value, headers),) = broker.topics["dead"]
        letter = read_dead_letter(SimpleNamespace(headers=lambda: headers, key=lambda: key, value=lambda: value))
        assert (letter.failure.reason, letter.failure.stage, letter.source.offset, letter.headers) == (
            "poison",
            "metrics",
            1,
            [("h", b"1")],
        )
        with pytest.raises(DeadLettersExhausted):
            await desk._work([(source, message("by", 3 + number, b"k", b"poison")) for number in range(3)])

    asyncio.run(work())


def test_a_desk_works_on_what_it_is_given_and_says_why_it_stops():
    async def work():
        broker, source = Broker(), Source()
        desk = Desk(ReaderStep(RULES, "x", 1), Rows(broker, "readers"), broker.send, by_note="by", dead_letters="dead", size=2)
        working = asyncio.create_task(desk.run())
        desk.resume({0})
        for offset in range(7):
            await asyncio.wait_for(desk.take(source, message("i", offset, b"u", encode(event(offset)))), 30)
        while source.committed < 7:
            await asyncio.sleep(0.01)
        assert (desk.counts.handled, len(broker.topics["by"])) == (7, 7)
        broker.sends_left = 0
        await desk.take(source, message("i", 7, b"u", encode(event(7))))
        await asyncio.wait_for(working, 30)
        assert isinstance(desk.failed, Crash)

    asyncio.run(work())


def test_that_nothing_waits_any_more_is_told_though_the_process_that_saw_it_was_killed():
    broker, sources, events = Broker(), {"i": Source(), "by": Source()}, [(b"u", encode(event(0)))]

    def told():
        return asyncio.run(life(broker, sources, events, 2))["by"].folds[0].take()["[]"]

    assert told() == b"1"
    broker.topics["by"].append((b"n", msgspec.msgpack.encode(NoteFacts(0, "shoes")), []))
    asyncio.run(life(broker, sources, events, 2))  # killed before it told
    assert told() == b"0"


def test_nothing_is_taken_after_a_record_that_came_too_early():
    async def work():
        broker, source = Broker(), Source()
        order = Order("i", lambda: {0: 0}, lambda _, at: at)
        step, rows = ReaderStep(RULES, "x", 1), Rows(broker, "readers")
        desk = Desk(step, rows, broker.send, by_note="by", dead_letters="dead", size=2, order=order)
        working = asyncio.create_task(desk.run())
        desk.resume({0})
        for offset in (0, 1, 3, 2, 4):
            await desk.take(source, message("i", offset, b"u", encode(event(offset))))
        while source.committed < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.4)
        assert (source.committed, desk.counts.handled) == (2, 2)
        assert isinstance(desk.failed, Stalled)
        working.cancel()

    asyncio.run(work())


def test_nothing_is_worked_on_while_partitions_move():
    """What waited is let go without an ack, a batch under way ends without one, and after recovery all comes again."""

    async def work():
        broker, source = Broker(), Source()
        desk = Desk(ReaderStep(RULES, "x", 1), Rows(broker, "readers"), broker.send, by_note="by", dead_letters="dead", size=2)
        working = asyncio.create_task(desk.run())
        await desk.take(source, message("i", 0, b"u", encode(event(0))))
        await asyncio.sleep(0.4)
        assert (source.committed, broker.topics) == (0, {}), "before the first recovery nothing is done"
        desk.hold()
        desk.resume({0})
        await asyncio.sleep(0.4)
        assert (source.committed, broker.topics) == (0, {}), "what waited will come again"

        async def move(records):
            desk.hold()
            await broker.send(records)

        full = [asyncio.create_task(desk.take(source, message("i", offset, b"u", encode(event(offset))))) for offset in range(6)]
        desk._free.clear()
        await asyncio.sleep(0.1)
        desk.hold()
        desk.resume({0})
        await asyncio.gather(*full)
        await asyncio.sleep(0.4)
        assert (source.committed, broker.topics) == (0, {}), "nor does what waited for room jump the queue"

        desk._send = move
        await desk._work([(source, message("i", 0, b"u", encode(event(0))))])
        assert (source.committed, desk.rows.held, list(broker.topics)) == (0, {}, ["by"])
        desk._send = broker.send
        desk.resume({0})
        await desk._work([(source, message("i", 0, b"u", encode(event(0))))])
        assert (source.committed, len(desk.rows.held), len(broker.topics["by"])) == (1, 2, 2)
        working.cancel()

    asyncio.run(work())


def test_a_faust_message_keeps_its_headers_and_time():
    one = event(1)
    raw = SimpleNamespace(
        topic="t", partition=2, offset=3, key=b"k", value=encode(one), headers=dict(version_headers(one)), timestamp=1_732_636_800.123
    )
    found = record_of(raw)
    assert (found.headers, found.timestamp, found.partition) == (version_headers(one), 1_732_636_800_123, 2)
    raw.headers, raw.timestamp = None, None
    assert (record_of(raw).headers, record_of(raw).timestamp) == ([], -1)
