"""Rows and sums of the metrics, as plain functions: order does not matter, duplicates count once, late is late."""

import json
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings, strategies

from schemas.codec import encode, version_headers
from schemas.events import Interaction, NoteEvent
from schemas.settings import Settings
from streams.metric_report import report, together
from streams.metric_steps import FactStep, NoteStep, ReaderStep, Record, row_key
from streams.metric_windows import (
    SEEN_PER_WINDOW,
    NoteFacts,
    NoteRow,
    Place,
    ReaderRow,
    Rules,
    StreamRow,
    note_action,
    prune_note,
    take_action,
    take_event,
    take_facts,
)
from streams.tag_drift import Thresholds

HOUR, DAY = 3_600_000, 86_400_000
RULES = Rules(window_ms=HOUR, grace_ms=HOUR // 2, fresh_ms=DAY, keep_ms=4 * DAY, waiting=10_000)
THRESHOLDS = Thresholds(psi=0.25, share=0.1, min_notes=50, window_ms=DAY)
AT = 20_000 * DAY


def event(number, action="click", at=AT, user="u", note="n", channel="fresh", **other):
    return Interaction(event_id=f"e{number}", user_id=user, note_id=note, action=action, occurred_at=at, channel=channel, **other)


def record(value, partition, offset, key=b""):
    return Record("t", partition, offset, key, encode(value), version_headers(value), 2 * AT)


class Machine:
    """The steps with tables in memory, as faust would hold them, one partition by note."""

    def __init__(self, rules=RULES):
        self.readers, self.facts, self.notes = ReaderStep(rules, "i", 1), FactStep(1), NoteStep(rules)
        self.held = {self.readers: {}, self.notes: {}}
        self.folds = {}
        self.by_note = []
        self.rules = rules

    def run(self, step, partition, records):
        rows = self.held.get(step, {})
        fold = self.folds.setdefault((step, partition), step.fold())
        decided = step.decide(partition, records, rows.get, fold)
        self.by_note += decided.forwards
        for key, value in decided.packed().items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
            fold.replace(key, decided.rows[key])
        return decided

    def interactions(self, events, partition=0, first=0):
        return self.run(self.readers, partition, [record(one, partition, first + place) for place, one in enumerate(events)])

    def note(self, note_id="n", published_at=AT, category="shoes"):
        note = NoteEvent(
            type="note.published", note_id=note_id, author_id="a", occurred_at=published_at, published_at=published_at, category=category
        )
        self.run(self.facts, 0, [record(note, 0, 0)])

    def count(self):
        """Lets the notes' rows take what was forwarded."""
        taken, self.by_note = self.by_note, []
        self.run(self.notes, 0, [Record("by", 0, number, out.key, out.value, [], 0) for number, out in enumerate(taken)])

    def rebuilt(self):
        """The same after a restart: sums made anew from the rows."""
        fresh = Machine(self.rules)
        fresh.held = {fresh.readers: self.held[self.readers], fresh.notes: self.held[self.notes]}
        for step in (fresh.readers, fresh.notes):
            for key, packed in fresh.held[step].items():
                partition = int(key.partition(b":")[0])
                fresh.folds.setdefault((step, partition), step.fold()).replace(key, step.open_row(key, packed))
        return fresh

    def report(self, by="channel"):
        cells = {"readers": {}, "notes": {}}
        for (step, partition), fold in self.folds.items():
            if step.table:
                fold.take()
                cells[step.table][partition] = fold.all()
        return report(cells, by, self.rules, THRESHOLDS)


actions = strategies.sampled_from(["impression", "click", "like", "favorite", "comment", "share", "view", "unlike"])
streams = strategies.lists(
    strategies.builds(
        lambda number, action, at, user, note, channel, arm: event(
            number, action, AT + at, f"u{user}", f"n{note}", channel, experiment={"ranker": arm} if arm else {}, dwell_ms=7
        ),
        strategies.integers(0, 40), actions, strategies.integers(0, 30 * HOUR), strategies.integers(0, 3), strategies.integers(0, 3),
        strategies.sampled_from(["fresh", "two_tower", None]), strategies.sampled_from(["a", "b", ""]),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=60)
@given(streams, strategies.integers(1, 60), strategies.integers(0, 60), strategies.booleans())
def test_batches_crashes_replays_and_note_order_do_not_matter(events, size, redelivered_from, notes_first):
    """One way and another over the same log give the same report."""
    plain = Machine()
    for number in range(3):
        plain.note(f"n{number}")
    plain.interactions(events)
    plain.count()

    other = Machine()
    if notes_first:
        for number in range(3):
            other.note(f"n{number}")
    for start in range(0, len(events), size):
        other.interactions(events[start : start + size], first=start)
        other.count()
    other = other.rebuilt()
    other.interactions(events[redelivered_from:], first=redelivered_from)
    for number in range(3):
        other.note(f"n{number}")
    other.count()
    for by in ("channel", "arm", "category"):
        assert other.report(by) == plain.report(by)
        assert other.rebuilt().report(by) == plain.report(by)


@settings(max_examples=60)
@given(streams)
def test_a_log_sent_twice_counts_once(events):
    once, twice = Machine(), Machine()
    for machine, log in ((once, events), (twice, [*events, *events])):
        for number in range(3):
            machine.note(f"n{number}")
        machine.interactions(log)
        machine.count()
    first, second = once.report(), twice.report()
    assert (second.windows, second.arms) == (first.windows, first.arms)
    assert second.late + second.duplicates == first.late + first.duplicates + len(events)


@settings(max_examples=60)
@given(streams, strategies.randoms(use_true_random=False))
def test_partitions_may_interleave_in_any_way(events, rng):
    """Readers spread over three partitions; which partition comes first when does not matter."""
    logs = [[one for one in events if int(one.user_id[1:]) % 3 == place] for place in range(3)]
    orders = []
    for _ in range(2):
        order = [place for place, log in enumerate(logs) for _ in log]
        rng.shuffle(order)
        orders.append(order)
    reports = []
    for order in orders:
        machine, done = Machine(), Counter()
        for number in range(4):
            machine.note(f"n{number}")
        for place in order:
            machine.interactions([logs[place][done[place]]], partition=place, first=done[place])
            done[place] += 1
            if rng.random() < 0.3:
                machine.count()
        machine.count()
        reports.append(machine.report())
    assert reports[0] == reports[1]


def take(row, stream, *events, first=0, timestamp=0, rules=RULES):
    return [take_event(row, stream, one, Place("s", first + place, timestamp), rules) for place, one in enumerate(events)]


def test_late_is_what_comes_after_its_window_and_the_grace():
    row, stream = ReaderRow(), StreamRow()
    closes = AT + HOUR + RULES.grace_ms
    verdicts = take(
        row, stream, event(1, at=closes - 1), event(2, at=AT), event(3, at=closes), event(4, at=AT + HOUR - 1), event(5, at=AT + HOUR)
    )
    assert verdicts == ["counted", "counted", "counted", "late", "counted"]
    assert list(row.refused.values()) == [[1, 0]]


def test_a_clock_that_is_ahead_does_not_make_others_late():
    row, stream = ReaderRow(), StreamRow()
    assert take(row, stream, event(1, at=AT + 365 * DAY), event(2), timestamp=AT) == ["counted", "counted"]
    assert stream.newest == AT


def test_an_event_id_counts_once_per_reader_while_its_window_is_open():
    row, stream = ReaderRow(), StreamRow()
    assert take(row, stream, event(1), event(1, "like"), event(1, at=AT + HOUR)) == ["counted", "duplicate", "duplicate"]
    assert take(ReaderRow(), stream, event(1, user="other"), first=3) == ["counted"]
    assert take(row, stream, event(2, at=AT + 2 * HOUR), event(1), first=4) == ["counted", "late"]
    assert row.seen.keys() == {AT + 2 * HOUR}


def test_event_ids_of_a_reader_are_bounded():
    row, stream = ReaderRow(), StreamRow()
    take(row, stream, *(event(number) for number in range(SEEN_PER_WINDOW + 5)))
    assert len(row.seen[AT]) == 8 * SEEN_PER_WINDOW


def test_an_offset_is_applied_once_and_a_recreated_topic_is_new():
    row, stream = ReaderRow(), StreamRow()
    take(row, stream, event(1))
    assert take(row, stream, event(2)) == ["applied"]
    assert take_event(row, stream, event(3), Place("recreated", 0), RULES) == "counted"


@pytest.mark.parametrize(("age", "counts"), [(-HOUR, 1), (0, 1), (DAY - 1, 1), (DAY, 0)])
@pytest.mark.parametrize("waits", [True, False])
def test_only_actions_on_fresh_notes_count(age, counts, waits):
    row, action = NoteRow(), note_action(event(1, at=AT + age), Place("s", 0))
    assert action is not None
    steps = [lambda: take_action(row, action, RULES, 1), lambda: take_facts(row, NoteFacts(AT, "shoes"), RULES)]
    for step in steps if waits else steps[::-1]:
        step()
    assert sum(cell["cfresh"][1] for cell in row.cells.values()) == counts
    assert not row.waiting


def test_the_first_note_event_fixes_age_and_category():
    row = NoteRow()
    assert take_facts(row, NoteFacts(AT, "shoes"), RULES)
    assert not take_facts(row, NoteFacts(AT + DAY, "pets"), RULES)
    assert (row.published_at, row.category) == (AT, "shoes")


def test_waiting_is_bounded_and_told():
    machine = Machine(msgspec.structs.replace(RULES, waiting=3))
    machine.interactions([event(number) for number in range(10)])
    machine.count()
    assert machine.report().unknown_note == 10
    machine.note()
    machine.count()
    assert machine.report().unknown_note == 7
    assert [window.clicks for window in machine.report().windows] == [3]


def test_what_is_not_kept_goes():
    machine = Machine()
    machine.note("n")
    machine.interactions([event(1), event(2, note="never known")])
    machine.count()
    machine.note("m", AT + 10 * DAY)
    machine.interactions([event(3, note="m", user="v", at=AT + 10 * DAY)], first=2)
    machine.count()
    found = machine.report()
    assert [window.start for window in found.windows] == [AT + 10 * DAY]
    assert [arm.day for arm in found.arms] == ["2024-10-14"]
    assert found.unknown_note == 0
    assert machine.held[machine.notes].keys() == {row_key(0, "n"), row_key(0, "m")}, "a known note stays known"
    assert machine.held[machine.readers].keys() == {row_key(0), row_key(0, "v")}
    assert prune_note(NoteRow(), AT, RULES) is False


def test_unlikes_and_views_are_no_rates_but_views_are_time():
    machine = Machine()
    machine.note()
    machine.interactions(
        [event(1, "view", dwell_ms=2_000), event(2, "unlike"), event(3, "view"), event(4, "like", user="v"), event(5, "impression")]
    )
    machine.count()
    (window,), (arm,) = machine.report().windows, machine.report().arms
    assert (window.impressions, window.likes, window.pvir) == (1, 1, 1.0)
    assert (arm.users, arm.views, arm.avdu_ms, arm.aiu) == (2, 2, pytest.approx(1_000, rel=1e-3), pytest.approx(0.5, rel=1e-3))


def test_labels_without_bound_are_bounded():
    machine = Machine()
    machine.note()
    machine.interactions([event(number, channel=f"channel {number}") for number in range(500)])
    machine.count()
    windows = machine.report().windows
    assert len(windows) < 250
    assert sum(window.clicks for window in windows) == 500


def test_the_table_adds_windows_up():
    machine = Machine()
    machine.note()
    machine.interactions([event(number, at=AT + number * HOUR // 2) for number in range(6)])
    machine.count()
    found = machine.report()
    assert [window.clicks for window in found.windows] == [2, 2, 2]
    (row,) = together(found.windows, found.as_of - HOUR)
    assert (row.clicks, row.start, row.end) == (4, AT + HOUR, AT + 3 * HOUR)
    assert json.loads(msgspec.json.encode(found))["windows"][0]["by"] == {"channel": "fresh"}


def test_rules_always_keep_open_windows():
    rules = Rules.of(Settings(metrics_window_minutes=10_000, metrics_grace_minutes=5_000))
    assert rules.keep_ms >= 2 * rules.window_ms + rules.grace_ms
