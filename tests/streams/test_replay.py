"""The replay's source on the log in memory: where it ends, how fast it goes, what goes first, and what a kill leaves."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import encode, version_headers
from schemas.events import Interaction
from schemas.settings import Settings
from schemas.topics import Topic
from schemas.writes import Skip
from streams.engine import Engine, Job
from streams.jobs import Stop
from streams.live_lag import LagGate
from streams.memory import Aborted, MemoryLog, MemoryPublisher, MemorySource
from streams.replay import Pace, ReplaySource

TOPIC = Topic("interactions", 3, -1, "delete", Interaction)


class Switch:
    """A gate that a test closes."""

    closed = False


@pytest.fixture
def log():
    log = MemoryLog()
    for topic in (TOPIC, Topic(TOPIC.dead_letters, 1, -1, "delete")):
        log.create(topic)
    for number in range(60):
        put(log, number)
    return log


def put(log, number):
    event = Interaction(event_id=f"e{number}", user_id=f"u{number}", note_id="n", action="click", occurred_at=number)
    log.append(TOPIC.name, encode(event), f"u{number}".encode(), headers=version_headers(event), partition=number % 3)


class Run:
    """One process of a replay: ``handled`` in the order the handler saw."""

    def __init__(self, log, *, firsts=None, abort_after=None, group="g", **options):
        self.handled = []
        self.ended = Stop()
        source = MemorySource(log, TOPIC.name, group, firsts=firsts, abort_after=abort_after)
        self.source = ReplaySource(source, self.ended, **options)
        job = Job(name="j", topic=TOPIC, handle=self._handle, batch_size=7, batch_age_s=0.0, group=group)
        self.engine = Engine(job, self.source, MemoryPublisher(log), [])

    def _handle(self, batch):
        self.handled += [(one.partition, one.offset) for one in batch]
        return [Skip("applied", 0)]

    def go(self):
        self.engine.run(self.ended)
        return sorted(self.handled)


def committed(log, group="g"):
    return {partition: offset for partition, (_, offset) in sorted(log.group(TOPIC.name, group).committed.items())}


def test_it_ends_when_it_has_caught_up_and_all_of_it_is_committed(log):
    run = Run(log)
    assert run.go() == [(p, o) for p in range(3) for o in range(20)]
    assert committed(log) == {0: 20, 1: 20, 2: 20}
    assert run.ended.requested


def test_nothing_before_the_first_or_behind_the_stop_is_handled_or_committed(log):
    run = Run(log, firsts={0: 5, 1: 0, 2: 20}, stops={0: 9, 1: 0, 2: 20})
    assert run.go() == [(0, 5), (0, 6), (0, 7), (0, 8)]
    assert committed(log) == {0: 9}


def test_a_stop_ends_it_though_more_is_produced_all_the_time(log):
    run = Run(log, stops={0: 20, 1: 20, 2: 20})
    numbers = itertools.count(60)
    poll = run.source._source.poll

    def busy(*args, **options):
        for _ in range(3):
            put(log, next(numbers))
        return poll(*args, **options)

    run.source._source.poll = busy
    assert run.go() == [(p, o) for p in range(3) for o in range(20)]


def test_what_was_killed_goes_on_where_it_had_committed(log):
    first = Run(log, abort_after=30)
    with pytest.raises(Aborted):
        first.go()
    done = committed(log)
    assert 0 < sum(done.values()) < 60
    second = Run(log)
    assert second.go() == [(p, o) for p in range(3) for o in range(done.get(p, 0), 20)]


def test_a_dry_run_handles_all_and_commits_nothing(log):
    run = Run(log, commits=False)
    assert len(run.go()) == 60
    assert committed(log) == {}


def test_nothing_is_read_while_the_gate_is_closed(log):
    gate = Switch()
    run = Run(log, gate=gate)
    source, listener = run.source, run.engine
    source.open(listener)
    assert source.poll(5, 0.01, eager=True)
    gate.closed = True
    assert [source.poll(5, 0.01, eager=True) for _ in range(3)] == [[], [], []]
    source.pause()
    gate.closed = False
    assert source.poll(5, 0.01, eager=True) == [], "the engine itself waits"
    source.resume()
    assert len(source.poll(5, 0.01, eager=True)) == 5
    source.close()


def test_two_processes_share_it(log):
    one, two = Run(log), Run(log)
    for run in (one, two):
        run.source.open(run.engine)
    seen = []
    while not (one.ended.requested and two.ended.requested):
        for run in (one, two):
            seen += [(m.partition(), m.offset()) for m in run.source.poll(4, 0.001, eager=True)]
    assert set(seen) == {(p, o) for p in range(3) for o in range(20)}


@given(per_s=st.floats(0.5, 500), steps=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 300)), min_size=1, max_size=60))
def test_the_pace_is_never_exceeded(per_s, steps):
    now = [0.0]
    pace = Pace(per_s, lambda: now[0])
    taken = 0
    for passed, wanted in steps:
        now[0] += passed
        allowed = pace.allowed(wanted)
        assert 0 <= allowed <= wanted
        pace.took(allowed)
        taken += allowed
        assert taken <= now[0] * per_s + 1e-6
    assert Pace(0).allowed(10**6) == 10**6


def test_the_gate_closes_above_its_bound_and_opens_at_half_of_it():
    gate = LagGate(Settings(), {}, {"a": 0, "b": 100})
    states = []
    for worst in (100, 101, 80, 51, 50, 99, 300):
        gate.decide({"a": 0, "b": worst})
        states.append(gate.closed)
    assert states == [False, True, True, True, False, False, True]
    assert gate.closures == 2


def test_each_group_has_a_bound_of_its_own():
    gate = LagGate(Settings(), {}, {"strict": 0, "b": 100})
    states = []
    for strict, other in ((0, 100), (1, 0), (0, 60), (0, 50), (0, 101)):
        gate.decide({"strict": strict, "b": other})
        states.append(gate.closed)
    assert states == [False, True, True, False, True]
