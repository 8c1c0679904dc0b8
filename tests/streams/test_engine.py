"""The loop on the in-memory Kafka: what each failure leads to, what is committed, what is repeated."""

import threading
import time
from collections import Counter

import msgspec
import pytest

from schemas.codec import encode, version_headers
from schemas.errors import DeadLettersExhausted, InvalidEvent, PoisonBatch, Transient
from schemas.events import Interaction, NoteTagged
from schemas.stored import ProfileRecord
from schemas.topics import Topic
from schemas.writes import GiveUp, KeepForUpgrade, Publish, PutProfile, Skip
from streams.dead_letters import read_dead_letter
from streams.engine import Applied, Engine, Job, Limits, PublishFailed, Stop
from streams.memory import Aborted, MemoryLog, MemoryPublisher, MemorySource

TOPIC = Topic("actions", 3, -1, "delete", Interaction)
OUT = Topic("out", 1, -1, "delete", NoteTagged)
QUICK = Limits(retry_max_s=0.01, patience_s=0.005, settle_s=1.0, commit_interval_s=0.0)
IDLE_S = 0.02


def event(number, user="u"):
    return Interaction(event_id=f"e{number}", user_id=user, note_id="n", action="click", occurred_at=number)


class Applying:
    """A store of profiles that counts what it applied and can be told to refuse."""

    accepts = (PutProfile,)

    def __init__(self, *failures):
        self.failures = list(failures)
        self.applied = []

    def apply(self, writes):
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure(writes)
        self.applied.extend(e.event.event_id for put in writes for e in put.events)
        return Applied()


def put_all(batch):
    return [
        PutProfile(user, b"", ProfileRecord(0, 0, 0), [e for e in batch if e.event.user_id == user])
        for user in sorted({e.event.user_id for e in batch})
    ]


class House:
    """A log with the topics, and one engine at a time on it."""

    def __init__(self, count=0, handle=put_all, batch_size=10, **limits):
        self.log = MemoryLog()
        for topic in (TOPIC, OUT, Topic(TOPIC.dead_letters, 1, -1, "delete")):
            self.log.create(topic)
        self.send(*range(count))
        self.job = Job(name="job", topic=TOPIC, handle=handle, batch_size=batch_size, batch_age_s=0.0)
        self.publisher = MemoryPublisher(self.log)
        self.limits = Limits(retry_max_s=0.01, patience_s=0.005, settle_s=1.0, commit_interval_s=0.0, **limits)

    def send(self, *numbers):
        for number in numbers:
            self.log.append(TOPIC.name, encode(event(number)), b"u", partition=number % 3)

    def send_bad(self, value, count=1):
        for _ in range(count):
            self.log.append(TOPIC.name, value, b"u", headers=[("own", b"1")], partition=0)

    def engine(self, *stores, **source):
        self.source = MemorySource(self.log, TOPIC.name, "g", **source)
        return Engine(self.job, self.source, self.publisher, stores, limits=self.limits)

    def run(self, *stores, **source):
        return self.engine(*stores, **source).run(Stop(), IDLE_S)

    @property
    def committed(self):
        return {p: offset for p, (_, offset) in self.log.group(TOPIC.name, "g").committed.items()}

    @property
    def dead(self):
        return [read_dead_letter(message) for message in self.log.records(TOPIC.dead_letters)]


def names(*numbers):
    return sorted(f"e{n}" for n in numbers)


def test_every_event_is_handled_once_and_everything_is_committed():
    house, store = House(100), Applying()
    counts = house.run(store)
    assert sorted(store.applied) == names(*range(100))
    assert counts.to_dict() == {"handled": 100, "dead_lettered": 0, "skipped_as_applied": 0, "stale": 0}
    assert house.committed == {0: 34, 1: 33, 2: 33}
    assert house.run(store).handled == 0


def test_events_carry_source_and_coordinates_in_partition_order():
    seen = []
    house = House(30, handle=lambda batch: seen.extend(batch) or [])
    house.run()
    for partition in range(3):
        assert [e.offset for e in seen if e.partition == partition] == list(range(10))
    assert {e.source for e in seen} == {house.source.source_id}
    assert all(e.message.offset() == e.offset and e.event.event_id.encode() in e.message.value() for e in seen)


def test_batches_never_exceed_their_size():
    sizes = []
    House(95, handle=lambda batch: sizes.append(len(batch)) or [], batch_size=7).run()
    assert sum(sizes) == 95 and max(sizes) == 7


def test_an_undecodable_event_goes_to_the_dead_letters_untouched_and_the_rest_goes_on():
    house, store = House(5), Applying()
    house.send_bad(b'{"event_id": "x"}')
    house.send_bad(None)
    house.send(9)
    counts = house.run(store)
    assert sorted(store.applied) == names(*range(5), 9)
    assert (counts.handled, counts.dead_lettered) == (6, 2)
    first, second = house.dead
    assert (first.value, first.key, first.headers) == (b'{"event_id": "x"}', b"u", [("own", b"1")])
    assert (first.failure.reason, first.failure.field, first.failure.stage) == ("invalid_event", "$.user_id", "job/decode")
    assert (first.source.topic, first.source.partition, first.source.offset) == (TOPIC.name, 0, 2)
    assert second.value is None
    assert house.committed[0] == 5


@pytest.mark.parametrize("raised", [PoisonBatch("cannot"), InvalidEvent("$.note_id", "too odd")])
@pytest.mark.parametrize("where", ["handle", "apply"])
def test_only_the_poison_event_of_a_batch_is_given_up(raised, where):
    def refuse(batch):
        if any(e.event.event_id == "e13" for e in batch):
            raise raised

    class Picky(Applying):
        def apply(self, writes):
            if where == "apply":
                refuse([e for put in writes for e in put.events])
            return super().apply(writes)

    def handle(batch):
        if where == "handle":
            refuse(batch)
        return put_all(batch)

    house, store = House(30, handle, batch_size=30), Picky()
    counts = house.run(store)
    assert sorted(store.applied) == names(*(n for n in range(30) if n != 13))
    assert (counts.handled, counts.dead_lettered) == (29, 1)
    [letter] = house.dead
    assert b'"e13"' in letter.value and letter.failure.reason == "poison" and letter.failure.stage == "job"
    assert house.committed == {0: 10, 1: 10, 2: 10}


def test_bisection_handles_few_times():
    calls = []

    def handle(batch):
        calls.append(len(batch))
        if any(e.event.event_id == "e5" for e in batch):
            raise PoisonBatch("cannot")
        return []

    House(64, handle, batch_size=64).run()
    assert len(calls) == 13  # the whole, and two halves on each of six levels


def test_a_transient_handle_is_called_again_with_the_same_events():
    calls = []

    def handle(batch):
        calls.append([e.event.event_id for e in batch])
        if len(calls) < 4:
            raise Transient("redis", "away")
        return put_all(batch)

    house, store = House(6, handle), Applying()
    counts = house.run(store)
    assert len(calls) == 4 and all(call == calls[0] for call in calls)
    assert sorted(store.applied) == names(*range(6)) and counts.handled == 6 and counts.dead_lettered == 0


def test_a_transient_apply_repeats_only_that_store_and_never_handle():
    handled = []
    first, second = Applying(), Applying(Transient("milvus", "away"), Transient("milvus", "away"))
    house = House(6, lambda batch: handled.append(len(batch)) or put_all(batch))
    house.run(first, second)
    assert handled == [6]
    assert sorted(first.applied) == sorted(second.applied) == names(*range(6))


def test_nothing_is_committed_while_a_dependency_is_down_and_a_stop_leaves_the_batch():
    stop, seen = Stop(), []

    def handle(batch):
        seen.append(house.committed)
        if len(seen) == 3:
            stop.request()
        raise Transient("redis", "away")

    house = House(6, handle)
    counts = house.engine().run(stop)
    assert len(seen) == 3 and counts.handled == 0
    assert house.committed == {}
    assert house.dead == []


def test_idle_exit_waits_for_a_dependency():
    refusals = [Transient("redis", "away")] * 12  # far longer than the idle time

    house, store = House(6), Applying(*refusals)
    assert house.run(store).handled == 6


def test_a_lost_compare_and_set_is_decided_again_for_those_events_only():
    handled = []

    def handle(batch):
        handled.append([e.event.event_id for e in batch])
        return put_all(batch)

    house = House(0, handle)
    for n, user in enumerate("aabb"):
        house.log.append(TOPIC.name, encode(event(n, user)), user.encode(), partition=0)

    def refuse_b(writes):
        store.applied.extend(e.event.event_id for put in writes if put.user_id == "a" for e in put.events)
        return Applied(conflicts=[put for put in writes if put.user_id == "b"])

    store = Applying(refuse_b)
    counts = house.run(store)
    assert handled == [["e0", "e1", "e2", "e3"], ["e2", "e3"]]
    assert store.applied == ["e0", "e1", "e2", "e3"]
    assert counts.handled == 4


def test_endless_conflicts_become_waiting_and_go_on():
    house, store = House(3), Applying(*[lambda writes: Applied(conflicts=list(writes))] * 12)
    assert house.run(store).handled == 3
    assert sorted(store.applied) == names(0, 1, 2)


def test_an_unknown_error_ends_the_run_without_committing_its_batch():
    def handle(batch):
        if len(done) == 1:
            raise ZeroDivisionError
        done.append(len(batch))
        return []

    done = []
    house = House(30, handle, batch_size=10)
    with pytest.raises(ZeroDivisionError):
        house.run()
    assert done == [10]
    assert sum(house.committed.values()) == 10
    assert house.log.group(TOPIC.name, "g").members == []


def test_too_many_refused_in_a_row_stop_the_job_before_the_topic_is_emptied():
    house = House(4, dead_letters_in_a_row=20)
    house.send_bad(b"nope", 50)
    with pytest.raises(DeadLettersExhausted, match="in a row"):
        house.run(Applying())
    assert len(house.dead) < 20
    assert house.committed.get(0, 0) < 22


def test_a_handler_that_fails_on_everything_stops_the_job_too():
    def handle(batch):
        raise PoisonBatch("broken release")

    house = House(60, handle, dead_letters_in_a_row=20)
    with pytest.raises(DeadLettersExhausted):
        house.run()
    assert len(house.dead) < 20


def test_good_events_between_dead_ones_reset_the_row():
    house = House(0, dead_letters_in_a_row=3)
    for n in range(30):
        house.send_bad(b"nope", 2)
        house.send(n * 3)
    assert house.run(Applying()).to_dict() == {"handled": 30, "dead_lettered": 60, "skipped_as_applied": 0, "stale": 0}


def test_dead_letters_that_cannot_be_produced_stop_the_job():
    house = House(3)
    house.send_bad(b"nope")
    house.publisher.fail_next.append(PublishFailed([(TOPIC.dead_letters, "no such topic")]))
    with pytest.raises(DeadLettersExhausted, match="no such topic"):
        house.run(Applying())
    assert house.committed == {}


def test_a_flush_that_waits_is_repeated_without_producing_twice():
    tagged = NoteTagged(note_id="n", author_id="a", occurred_at=1, published_at=1, bundle="b")
    house = House(3, lambda batch: [Publish(OUT.name, "n", tagged) for _ in batch])
    house.publisher.fail_next.extend([Transient("kafka", "away")] * 3)
    house.run()
    records = house.log.records(OUT.name)
    assert len(records) == 3
    assert records[0].value() == encode(tagged) and records[0].key() == b"n" and records[0].headers() == version_headers(tagged)


def test_publishes_are_acknowledged_before_stores_are_written_and_stores_before_the_commit():
    order = []
    tagged = NoteTagged(note_id="n", author_id="a", occurred_at=1, published_at=1, bundle="b")
    house = House(1, lambda batch: [*put_all(batch), Publish(OUT.name, "n", tagged)])

    class Watching(Applying):
        def apply(self, writes):
            order.append((len(house.log.records(OUT.name)), house.committed))
            return super().apply(writes)

    house.run(Watching())
    assert order == [(1, {})]
    assert house.committed[0] == 1


def test_a_published_event_that_is_too_large_gives_up_its_source_event():
    small = Topic("small", 1, -1, "delete", None, 1000)
    big = NoteTagged(note_id="n", author_id="a" * 2000, occurred_at=1, published_at=1, bundle="b")
    house = House(6, lambda batch: [Publish(small.name, "n", big) for e in batch if e.event.event_id == "e4"])
    house.log.create(small)
    assert house.run().to_dict() == {"handled": 5, "dead_lettered": 1, "skipped_as_applied": 0, "stale": 0}
    assert b'"e4"' in house.dead[0].value


def test_what_the_handler_gives_up_or_skips_is_counted():
    def handle(batch):
        given_up = [GiveUp(e.message, "too_odd", "detail") for e in batch if e.event.event_id in {"e2", "e5"}]
        return [*given_up, Skip("applied", 3), Skip("stale")]

    house = House(9, handle, batch_size=9)
    assert house.run().to_dict() == {"handled": 7, "dead_lettered": 2, "skipped_as_applied": 3, "stale": 1}
    assert [letter.failure.reason for letter in house.dead] == ["too_odd", "too_odd"]


def test_what_is_kept_for_an_upgrade_is_handled_and_never_stops_a_job():
    """Also when all events in a row are: that is an outage of what they lack, and nothing is lost by it."""
    house = House(9, lambda batch: [KeepForUpgrade(e.message, "image: refused, unreachable") for e in batch], dead_letters_in_a_row=3)
    assert house.run().to_dict() == {"handled": 9, "dead_lettered": 0, "skipped_as_applied": 0, "stale": 0}
    assert [(letter.failure.reason, letter.failure.detail) for letter in house.dead] == [("degraded", "image: refused, unreachable")] * 9
    assert sum(house.committed.values()) == 9


def test_counts_of_stale_writes_come_from_the_stores():
    house = House(4)
    assert house.run(Applying(lambda writes: Applied(stale=2))).stale == 2


def test_an_abort_loses_nothing():
    house, store = House(200), Applying()
    for after in (35, 70, 20):
        with pytest.raises(Aborted):
            house.run(store, abort_after=after)
    house.run(store)
    assert sorted(set(store.applied)) == names(*range(200))
    assert house.committed == {0: 67, 1: 67, 2: 66}


def test_a_stop_ends_after_the_batch_in_hand_is_committed():
    stop = Stop()

    def handle(batch):
        stop.request()
        return put_all(batch)

    house, store = House(50, handle), Applying()
    counts = house.engine(store).run(stop)
    assert counts.handled == 10 == len(store.applied) == sum(house.committed.values())


def test_failed_commits_are_repeated():
    house = House(40)
    engine = house.engine(Applying())
    house.source.fail_commits(4)  # one for each batch
    engine.run(Stop(), IDLE_S)
    assert sum(house.committed.values()) == 40


def test_a_recreated_topic_is_read_from_its_start():
    house, store = House(30), Applying()
    house.run(store)
    house.log.delete(TOPIC.name)
    house.log.create(TOPIC)
    house.send(*range(100, 112))
    house.run(store)
    assert sorted(store.applied) == names(*range(30), *range(100, 112))


def test_partitions_lost_in_the_middle_of_a_batch_are_not_committed():
    inside, go_on = threading.Event(), threading.Event()

    def handle(batch):
        inside.set()
        assert go_on.wait(10)
        return []

    house = House(30, handle, batch_size=30)
    engine = house.engine()
    poll = house.source.poll

    def losing(limit, timeout_s, *, eager):
        if inside.is_set() and not go_on.is_set():
            house.source.lose([0, 1])
            go_on.set()
            return []
        return poll(limit, timeout_s, eager=eager)

    house.source.poll = losing
    stop = Stop()
    commits = []
    commit = house.source.commit
    house.source.commit = lambda positions, *, wait: commits.append(positions) or commit(positions, wait=wait)
    engine.run(stop, IDLE_S)
    assert commits[0] == {2: 10}
    assert house.committed == {0: 10, 1: 10, 2: 10}  # read again under the new assignment


def test_a_source_that_fails_while_a_dependency_is_down_ends_the_run():
    down = threading.Event()

    def handle(batch):
        down.set()
        raise Transient("redis", "away")

    house = House(30, handle)
    engine = house.engine()
    poll = house.source.poll

    def failing(limit, timeout_s, *, eager):
        if down.is_set():
            raise Aborted
        return poll(limit, timeout_s, eager=eager)

    house.source.poll = failing
    with pytest.raises(Aborted):
        engine.run(Stop(), IDLE_S)
    assert house.committed == {}


def test_records_polled_but_not_begun_go_to_the_next_owner():
    house, store = House(30, batch_size=1000), Applying()
    house.job = msgspec.structs.replace(house.job, batch_age_s=0.5)
    first, second = house.engine(store), house.engine(store)
    stop = Stop()
    threads = [threading.Thread(target=engine.run, args=(stop, 0.3)) for engine in (first, second)]
    threads[0].start()
    while not len(first._filling):
        time.sleep(0.001)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert sorted(store.applied) == names(*range(30))
    assert sum(house.committed.values()) == 30


def test_a_job_that_is_fed_does_not_end_while_nothing_comes():
    house = House(10, put_all)
    asked = []

    def fed():
        """At work for four times as long as idleness takes, then sends what it made and ends."""
        asked.append(time.monotonic())
        if asked[-1] - asked[0] < 4 * IDLE_S:
            return True
        if sum(house.committed.values()) == 10:
            house.send(*range(10, 25))
        return False

    assert house.engine().run(Stop(), IDLE_S, fed).handled == 25


def test_two_members_share_the_work_and_hand_partitions_over_without_loss():
    def handle(batch):
        until = time.monotonic() + 10
        while len(house.log.group(TOPIC.name, "g").members) < 2 and time.monotonic() < until:
            time.sleep(0.001)
        return put_all(batch)

    house, store = House(600, handle, batch_size=20), Applying()
    stop = Stop()
    counts = {}

    def member(name, engine, until_idle_s):
        counts[name] = engine.run(stop, until_idle_s).handled

    first = threading.Thread(target=member, args=("first", house.engine(store), 0.3))
    second = threading.Thread(target=member, args=("second", house.engine(store), 0.3))
    first.start()
    house.send(*range(600, 900))
    second.start()
    house.send(*range(900, 1500))
    first.join(20)
    second.join(20)
    assert not first.is_alive() and not second.is_alive()
    seen = Counter(store.applied)
    assert sorted(seen) == names(*range(1500))
    assert sum(house.committed.values()) == 1500
    assert counts["first"] + counts["second"] == sum(seen.values())
    assert min(counts.values()) > 0
    assert sum(seen.values()) == 1500  # an orderly revoke repeats nothing
