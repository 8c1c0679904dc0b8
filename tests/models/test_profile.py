"""Profile arithmetic against an oracle that keeps every event; how a log is cut, redelivered or overtaken by tags must not matter."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.profile import Rules, acted_on, actions_behind, history_at, pack_tags, rules_of, scores_at
from models.profile_batch import ProfileBatch, pack_notes
from models.profile_facts import FORGOTTEN_KEPT, GIVEN_UP_KEPT, STAMPS_KEPT
from models.profile_update import SOURCES_KEPT, Known, Outcome, apply_actions, open_profile, pack_append, waiting_in
from schemas.events import Action, Interaction, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import Profile, ProfileRecord
from streams.memory import MemoryMessage

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_700_000_000_000
EXACT = Settings(profile_max_tags=0)
SOURCE = "interactions@t1"
ACTIONS: tuple[Action, ...] = get_args(Action)
Log = list[Received[Interaction]]


def event(note: str, action: Action, at: int = START, offset: int = 0, event_id: str = "", partition: int = 0) -> Received[Interaction]:
    made = Interaction(event_id=event_id or f"e{partition}.{offset}", user_id="u", note_id=note, action=action, occurred_at=at)
    raw = msgspec.json.encode(made)
    message = MemoryMessage(topic="interactions", partition=partition, offset=offset, value=raw)
    return Received(made, SOURCE, partition, offset, message)


def log_of(*steps: tuple[Any, ...]) -> Log:
    """(note, action[, at]) in partition order."""
    return [event(*step, **{"offset": offset}) for offset, step in enumerate(steps)]


def tagged(tags: Mapping[str, Sequence[str]]) -> dict[str, list[Tag]]:
    return {note: [Tag(text=text, dimension="d", rank=1, confidence=1.0) for text in texts] for note, texts in tags.items()}


def applied(log: Log, tags: Mapping[str, Sequence[str]], chosen: Settings = EXACT, record: ProfileRecord | None = None) -> ProfileRecord:
    record = ProfileRecord() if record is None else record
    apply_events(record, log, packed(tags), rules_of(chosen))
    return record


def opened(log: Log, tags: Mapping[str, Sequence[str]], chosen: Settings = EXACT) -> Profile:
    return open_profile(applied(log, tags, chosen), chosen)


def apply_events(record: ProfileRecord, log: Log, tags: Mapping[str, bytes], rules: Rules) -> Outcome:
    """Applies a log of one reader by the short way where it is open; without events what waits is resolved all the same."""
    batch = ProfileBatch(rules)
    batch.add(log)
    known = Known(tags, pack_notes(batch.notes, tags), batch.originals, batch.redriven)
    bare = known.notes.keys() - tags.keys()
    total = Outcome()
    for place, readers in (batch.places or {f"{SOURCE}/0": {}}).items():
        mine = readers.get("u", [])
        plain = bool(mine) and batch.ordered and not batch.redriven
        if plain and (appended := pack_append(record.head, place, mine, known.notes, bare)) is not None:
            record.tail += appended
            total.applied += len(mine) // 3 if appended else 0
            total.skipped += 0 if appended else len(mine) // 3
            continue
        done = apply_actions(record, place, mine, known, rules)
        total.applied += done.applied
        total.skipped += done.skipped
        total.given_up += done.given_up
    return total


def packed(tags: Mapping[str, Sequence[str]]) -> dict[str, bytes]:
    return {note: pack_tags(made) for note, made in tagged(tags).items()}


def read(record: ProfileRecord, tags: Mapping[str, Sequence[str]], at: int = START, chosen: Settings = EXACT) -> dict[str, float]:
    return scores_at(open_profile(record, chosen), at, chosen, tagged(tags).get)


def oracle(log: Log, tags: Mapping[str, Sequence[str]], at: int, chosen: Settings = EXACT) -> dict[str, float]:
    """The definition, with unbounded memory."""
    weights, half_life = chosen.action_weights(), chosen.half_life_ms
    scores: dict[str, float] = defaultdict(float)
    held: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for received in log:
        one = received.event
        if one.event_id in seen:
            continue
        seen.add(one.event_id)
        action, when, sign = one.action, one.occurred_at, 1.0
        if action in ("like", "favorite"):
            if (one.note_id, action) in held:
                continue
            held[one.note_id, action] = when
        elif action in ("unlike", "unfavorite"):
            action = "like" if action == "unlike" else "favorite"
            if (one.note_id, action) not in held:
                continue
            when, sign = held.pop((one.note_id, action)), -1.0
        age = max(0, at - when)
        weight = sign * weights[action] * (2.0 ** (-age / half_life) if half_life else 1.0)
        for text in tags.get(one.note_id, ()):
            scores[text] += weight
    return {text: score for text, score in scores.items() if abs(score) >= 1e-9}


TAGS = {f"n{i}": [f"t{i % 3}", f"t{i % 5 + 10}", f"only {i}"] for i in range(8)}
steps = st.lists(
    st.tuples(st.sampled_from(sorted(TAGS)), st.sampled_from(ACTIONS), st.integers(-40 * DAY, 40 * DAY).map(lambda d: START + d)),
    max_size=60,
)


@given(steps, st.integers(START - 50 * DAY, START + 50 * DAY), st.sampled_from([0.0, 1 / 24, 30.0]))
def test_scores_equal_the_oracle_at_any_moment(made: list[tuple[Any, ...]], at: int, half_life_days: float) -> None:
    chosen = Settings(profile_max_tags=0, profile_half_life_days=half_life_days)
    log = log_of(*made)
    assert read(applied(log, TAGS, chosen), TAGS, at, chosen) == pytest.approx(oracle(log, TAGS, at, chosen), abs=1e-9)


@given(steps, st.data())
def test_any_cut_redelivery_or_crash_gives_the_same_bytes(made: list[tuple[Any, ...]], data: st.DataObject) -> None:
    log = log_of(*made * 4)
    whole = msgspec.msgpack.encode(applied(log, TAGS))
    stored = msgspec.msgpack.encode(ProfileRecord())
    done = 0
    while done < len(log):
        start = data.draw(st.integers(0, done), label="redelivered from")
        end = data.draw(st.integers(done + 1, len(log)), label="up to")
        record = applied(log[start:end], TAGS, record=msgspec.msgpack.decode(stored, type=ProfileRecord))
        if data.draw(st.booleans(), label="crash before the write"):
            continue
        stored, done = msgspec.msgpack.encode(record), end
    again = applied(log, TAGS, record=msgspec.msgpack.decode(stored, type=ProfileRecord))
    assert stored == msgspec.msgpack.encode(again) == whole


@given(steps, st.data())
@settings(max_examples=60)
def test_tags_may_come_before_or_after_the_actions(made: list[tuple[Any, ...]], data: st.DataObject) -> None:
    chosen = Settings(profile_max_tags=0, profile_pending_hours=24.0 * 365)
    log = log_of(*made)
    early = applied(log, TAGS, chosen)
    late = ProfileRecord()
    known: dict[str, list[str]] = {}
    for received in log:
        if data.draw(st.booleans()):
            known = {note: TAGS[note] for note in TAGS if note in known or data.draw(st.booleans())}
        applied([received], known, chosen, late)
    at = START + DAY
    assert read(late, TAGS, at, chosen) == pytest.approx(read(early, TAGS, at, chosen), abs=1e-9)
    applied([], TAGS, chosen, late)
    assert not late.head.waiting
    assert msgspec.msgpack.encode(open_profile(late, chosen)) == msgspec.msgpack.encode(open_profile(early, chosen))


def test_one_event_id_counts_once_among_the_last_256() -> None:
    fillers = [event("n1", "comment", offset=i) for i in range(1, 256)]
    twice = event("n0", "click", offset=256, event_id="e0.0")
    log = [event("n0", "click", offset=0), *fillers, twice]
    assert read(applied(log, TAGS), TAGS)["only 0"] == 1.0
    later = [
        event("n0", "click", offset=0),
        *fillers,
        event("n1", "comment", offset=256),
        event("n0", "click", offset=257, event_id="e0.0"),
    ]
    assert read(applied(later, TAGS), TAGS)["only 0"] == 2.0


def test_skipped_counts_what_was_applied_before() -> None:
    record = ProfileRecord()
    rules = rules_of(EXACT)
    log = [event("n0", "click", offset=0), event("n0", "click", offset=1, event_id="e0.0"), event("n0", "like", offset=2)]
    assert apply_events(record, log, packed(TAGS), rules) == Outcome(applied=3)
    assert apply_events(record, log, packed(TAGS), rules) == Outcome(skipped=3)
    assert open_profile(record, EXACT).actions == 2


def test_watermarks_are_per_source_and_partition() -> None:
    log = [event("n0", "click", offset=9), event("n0", "click", offset=3, partition=1), event("n0", "click", offset=8)]
    record = applied(log, TAGS)
    assert record.head.applied == {f"{SOURCE}/0": 9, f"{SOURCE}/1": 3}
    assert read(record, TAGS)["only 0"] == 2.0


def test_of_many_recreated_topics_the_watermark_of_the_present_one_stays() -> None:
    record = ProfileRecord()
    click = event("n0", "click")
    for number in range(40):
        received = Received(click.event, f"interactions@{number}", number % 2, 5, click.message)
        apply_events(record, [received], packed(TAGS), rules_of(EXACT))
    assert len(record.head.applied) == SOURCES_KEPT
    assert record.head.applied["interactions@39/1"] == 5


def test_a_like_is_taken_back_after_its_tail_was_settled() -> None:
    log = log_of(("n0", "like"), *(("n1", "comment"),) * 200, ("n0", "unlike"), ("n0", "favorite"))
    record = applied(log, TAGS)
    assert record.settled
    assert read(record, TAGS)["only 0"] == 3.0
    assert open_profile(record, EXACT).actions == 203


def test_an_undo_leaves_nothing_behind_even_when_the_note_was_tagged_anew() -> None:
    chosen = Settings(profile_max_tags=0, profile_half_life_days=1.0)
    record = applied(log_of(("n0", "like", START - 9 * DAY), ("n0", "click", START - 2 * DAY)), {"n0": ["old", "both"]}, chosen)
    now = {"n0": ["new", "both"]}
    applied([event("n0", "favorite", offset=2)], now, chosen, record)
    like, click = 2.0 * 2.0**-9, 2.0**-2
    assert read(record, now, chosen=chosen) == pytest.approx({"both": 3.0 + like + click, "new": 3.0, "old": like + click})
    applied([event("n0", "unlike", offset=3), event("n0", "unfavorite", offset=4)], now, chosen, record)
    assert read(record, now, chosen=chosen) == {"both": click, "old": click}


def test_a_deleted_or_empty_note_adds_nothing_and_does_not_wait() -> None:
    record = applied(log_of(("gone", "like"), ("gone", "click")), {"gone": []})
    assert not record.head.waiting
    assert not read(record, {"gone": ["late"]})
    assert "gone" in acted_on(open_profile(record, EXACT))


def test_a_waiting_like_is_a_like_and_an_unlike_cancels_it() -> None:
    record = applied(log_of(("n0", "like"), ("n0", "like"), ("n0", "click")), {})
    assert [one.action for one in open_profile(record, EXACT).pending] == ["like", "click"]
    assert read(record, TAGS)["only 0"] == 3.0
    assert not read(record, {})
    applied([event("n0", "unlike", offset=3)], {}, record=record)
    assert [one.action for one in open_profile(record, EXACT).pending] == ["click"]
    assert read(record, TAGS)["only 0"] == 1.0


def test_an_action_waits_for_its_time_and_is_then_given_up_as_if_it_had_never_come() -> None:
    rules = rules_of(EXACT)
    record = ProfileRecord()
    first = event("n0", "like", at=START)
    apply_events(record, [first, event("n1", "click", at=START + 24 * HOUR, offset=1)], {}, rules)
    assert waiting_in(record) == {"n0", "n1"}
    outcome = apply_events(record, [event("n2", "click", at=START + 24 * HOUR + 1, offset=2)], packed({"n2": ["x"]}), rules)
    (lost,) = outcome.given_up
    assert (lost.reason, lost.action.note_id, lost.action.offset, lost.action.raw) == ("note_never_tagged", "n0", 0, first.message.value())
    assert read(record, TAGS)["x"] == 1.0
    assert "only 0" not in read(record, TAGS)
    assert open_profile(record, EXACT).actions == 3
    sent_again = Received(first.event, SOURCE, 0, 3, first.message)
    apply_events(record, [sent_again], packed(TAGS), rules)
    assert read(record, TAGS)["only 0"] == 2.0
    assert open_profile(record, EXACT).actions == 3


def test_more_waiting_actions_than_the_bound_give_up_the_oldest() -> None:
    rules = rules_of(Settings(profile_max_pending=3))
    record = ProfileRecord()
    outcome = apply_events(record, log_of(*((f"n{i}", "click") for i in range(5))), {}, rules)
    assert [(lost.reason, lost.action.note_id) for lost in outcome.given_up] == [("too_many_pending", "n0"), ("too_many_pending", "n1")]
    assert [one.note_id for one in open_profile(record, EXACT).pending] == ["n2", "n3", "n4"]


LATE = Settings(profile_max_tags=0, profile_pending_hours=2.0, profile_max_pending=3)
"""Gives up early, one way or the other."""
uneven = st.lists(
    st.tuples(st.sampled_from(["n0", "n1", "late", "later"]), st.sampled_from(ACTIONS), st.integers(0, 3)), min_size=1, max_size=40
)


def redriven(lost: Received[Interaction], offset: int, reason: str = "note_never_tagged") -> Received[Interaction]:
    """The record that a redrive publishes of an action that was given up."""
    return msgspec.structs.replace(lost, offset=offset, redriven=reason)


def lived(log: Log, tags: Mapping[str, Sequence[str]], record: ProfileRecord) -> list[Received[Interaction]]:
    """Applies a log event by event while some notes have no tags. Returns what was given up."""
    rules, given_up = rules_of(LATE), []
    for received in log:
        outcome = apply_events(record, [received], packed(tags), rules)
        given_up += [log[lost.action.offset] for lost in outcome.given_up]
    return given_up


@given(uneven, st.data())
@settings(max_examples=150)
def test_what_was_given_up_and_sent_again_counts_exactly_once(made: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Sent again in any order, some twice, with other events in between: the scores are those of each event once, at its own place. So are
    those of a replay over the originals and every copy."""
    at, log = START, []
    for offset, (note, action, hours) in enumerate(made):
        at += hours * HOUR
        log.append(event(note, action, at, offset))
    tags = TAGS | {"late": ["slow", "all"], "later": ["slower", "all"]}
    record = ProfileRecord()
    given_up = lived(log, TAGS, record)
    copies = data.draw(st.permutations(given_up + data.draw(st.lists(st.sampled_from(given_up), max_size=3)))) if given_up else []
    again = [redriven(one, len(log) + number) for number, one in enumerate(copies)]
    for one in again:
        apply_events(record, [one], packed(tags), rules_of(LATE))
    apply_events(record, [], packed(tags), rules_of(LATE))
    now = at + HOUR
    want = pytest.approx(oracle(log, tags, now), abs=1e-9)
    assert read(record, tags, now, LATE) == want
    assert not open_profile(record, LATE).given_up or not given_up
    replayed = ProfileRecord()
    start = 0
    while start < len(log) + len(again):
        end = data.draw(st.integers(start + 1, len(log) + len(again)), label="end of the write")
        apply_events(replayed, [*log, *again][start:end], packed(tags), rules_of(LATE))
        start = end
    assert read(replayed, tags, now, LATE) == want
    assert open_profile(replayed, LATE).actions == open_profile(record, LATE).actions


def test_a_copy_counts_once_however_many_events_lie_between_it_and_the_original() -> None:
    rules = rules_of(EXACT)
    first, later = event("late", "like"), event("n1", "comment", START + 25 * HOUR, 1)
    fillers = [event("n1", "comment", START + 25 * HOUR, offset) for offset in range(2, 400)]
    more = [event("n1", "comment", START + 25 * HOUR, offset) for offset in range(401, 800)]
    log = [first, later, *fillers, redriven(first, 400), *more, redriven(first, 800), event("n1", "click", START, 801)]
    tags = TAGS | {"late": ["slow"]}
    live = ProfileRecord()
    assert len(apply_events(live, log[:2], packed(TAGS), rules).given_up) == 1
    for received in log[2:]:
        apply_events(live, [received], packed(tags), rules)
    replayed = ProfileRecord()
    apply_events(replayed, log, packed(tags), rules)
    for record in (live, replayed):
        assert read(record, tags, START)["slow"] == 2.0
        assert open_profile(record, EXACT).actions == 800


def test_an_undo_and_a_later_like_are_honoured_when_the_first_like_is_sent_again() -> None:
    rules, tags = rules_of(EXACT), packed(TAGS | {"late": ["slow"]})

    def after(*steps: tuple[Any, ...]) -> ProfileRecord:
        record = ProfileRecord()
        log = [event("late", "like"), event("n1", "click", START + 25 * HOUR, 1)]
        assert len(apply_events(record, log, packed(TAGS), rules).given_up) == 1
        apply_events(record, [event(*step, offset=offset) for offset, step in enumerate(steps, 2)], tags, rules)
        apply_events(record, [redriven(log[0], 9)], tags, rules)
        return record

    assert "slow" not in read(after(("late", "unlike", START + 26 * HOUR)), {}, START + 30 * DAY)
    unliked_then_liked = after(("late", "unlike", START + 26 * HOUR), ("late", "like", START + 5 * DAY))
    assert read(unliked_then_liked, {}, START + 35 * DAY)["slow"] == pytest.approx(1.0)
    liked_twice = after(("late", "like", START + 5 * DAY))
    assert read(liked_twice, {}, START + 30 * DAY)["slow"] == pytest.approx(1.0), "the first like stands, as it would have"
    assert list(open_profile(liked_twice, EXACT).notes) == ["n1", "late"]


def test_an_action_sent_again_by_its_producer_counts_once_with_the_copy_of_a_redrive() -> None:
    """The producer's record is appended to the tail like any other, and found out when the tail is settled."""
    rules, tags = rules_of(EXACT), packed(TAGS | {"late": ["slow"]})
    record, first = ProfileRecord(), event("late", "click")
    assert len(apply_events(record, [first, event("n1", "click", START + 25 * HOUR, 1)], packed(TAGS), rules).given_up) == 1
    apply_events(record, [event("late", "click", offset=2, event_id="e0.0")], tags, rules)
    assert record.tail
    apply_events(record, [event("n1", "comment", START + 25 * HOUR, offset) for offset in range(3, 400)], tags, rules)
    apply_events(record, [redriven(first, 400)], tags, rules)
    assert read(record, {}, START)["slow"] == 1.0


def test_an_action_sent_again_keeps_its_place_in_the_history() -> None:
    rules, tags = rules_of(EXACT), packed(TAGS | {"late": ["slow"]})
    record, first = ProfileRecord(), event("late", "click")
    apply_events(record, [first, event("n1", "click", START + 25 * HOUR, 1)], packed(TAGS), rules)
    apply_events(record, [redriven(first, 2)], tags, rules)
    history = history_at(open_profile(record, EXACT), START + 26 * HOUR, EXACT, lambda _note: None)
    assert [one.note_id for one in history] == ["n1", "late"]


def test_what_is_sent_again_too_early_waits_and_is_given_up_again() -> None:
    rules, tags = rules_of(EXACT), packed(TAGS | {"late": ["slow"]})
    record, first = ProfileRecord(), event("late", "click")
    assert len(apply_events(record, [first, event("n1", "click", START + 25 * HOUR, 1)], packed(TAGS), rules).given_up) == 1
    apply_events(record, [redriven(first, 2), redriven(first, 3)], packed(TAGS), rules)
    assert waiting_in(record) == {"late"}
    outcome = apply_events(record, [event("n1", "click", START + 50 * HOUR, 4)], packed(TAGS), rules)
    assert [lost.action.offset for lost in outcome.given_up] == [2]
    apply_events(record, [redriven(first, 5)], tags, rules)
    assert read(record, {}, START)["slow"] == 1.0


def test_only_so_many_given_up_actions_are_remembered() -> None:
    rules = rules_of(Settings(profile_max_pending=1))
    record = ProfileRecord()
    log = log_of(*((f"x{number}", "click") for number in range(GIVEN_UP_KEPT + 3)))
    apply_events(record, log, {}, rules)
    assert len(open_profile(record, EXACT).given_up) == GIVEN_UP_KEPT
    tags = {"x1": ["old"], "x2": ["kept"]}
    apply_events(record, [redriven(log[1], GIVEN_UP_KEPT + 3), redriven(log[2], GIVEN_UP_KEPT + 4)], packed(tags), rules)
    assert read(record, tags) == {"kept": 1.0}


def test_notes_beyond_the_bound_keep_their_score_and_are_counted() -> None:
    chosen = Settings(profile_max_tags=0, profile_max_notes=1000, profile_half_life_days=1.0)
    actions: list[Action] = ["click", "like", "favorite"]
    many = {f"n{i}": [f"t{i % 7}", "all"] for i in range(1500)}
    log = log_of(*((f"n{i}", actions[i % 3], START + i * 60_000) for i in range(1500)))
    record = applied(log, many, chosen)
    at = START + 1500 * 60_000
    assert read(record, many, at, chosen) == pytest.approx(oracle(log, many, at, chosen), rel=1e-9)
    profile = open_profile(record, chosen)
    assert (len(profile.notes), profile.forgotten_notes) == (1000, 500)
    acted = acted_on(profile)
    assert all(note in acted for note in many)
    assert "never" not in acted
    assert len(list(acted)) == 1000
    assert len(profile.forgotten) <= 4 * FORGOTTEN_KEPT


def test_an_hour_of_half_life_over_decades_stays_finite() -> None:
    chosen = Settings(profile_max_tags=0, profile_half_life_days=1 / 24)
    many = {f"n{i}": ["all"] for i in range(1200)}
    year = 365 * DAY
    log = log_of(*((f"n{i}", "like", START + (i // 20) * year) for i in range(1200)))
    record = applied(log, many, chosen)
    for at in (START + 59 * year, START + 59 * year + 6 * HOUR):
        assert read(record, many, at, chosen) == pytest.approx(oracle(log, many, at, chosen), rel=1e-9)
    assert all(value < 1e300 for value in open_profile(record, chosen).residue.values())


def test_many_clicks_on_one_note_are_folded_exactly_for_now() -> None:
    rng = random.Random(4)
    chosen = Settings(profile_max_tags=0, profile_half_life_days=3.0)
    log = log_of(*(("n0", "click", START + rng.randrange(30 * DAY)) for _ in range(100)))
    record = applied(log, TAGS, chosen)
    at = START + 31 * DAY
    assert read(record, TAGS, at, chosen) == pytest.approx(oracle(log, TAGS, at, chosen), rel=1e-9)
    assert len(open_profile(record, chosen).notes["n0"].stamps) == STAMPS_KEPT


def test_the_highest_scored_tags_are_kept_ties_by_text() -> None:
    chosen = Settings(profile_max_tags=3, profile_half_life_days=0)
    tags = {"a": ["z", "y", "x"], "b": ["top", "z"]}
    record = applied(log_of(("a", "click"), ("b", "like")), tags, chosen)
    assert list(read(record, tags, chosen=chosen).items()) == [("z", 3.0), ("top", 2.0), ("x", 1.0)]


def test_impressions_leave_a_trace_only_by_setting() -> None:
    log = log_of(("n0", "impression"), ("n1", "view"))
    assert applied(log[:1], TAGS) == ProfileRecord()
    shown = opened(log, TAGS, Settings(recall_filter_impressions=True))
    assert set(acted_on(shown)) == {"n1"}
    assert set(acted_on(shown, impressions=True)) == {"n0", "n1"}
    assert shown.actions == 1


def test_weights_are_settings() -> None:
    chosen = Settings(profile_weight_impression=0.1, profile_weight_share=5.0, profile_weight_click=0.5, profile_half_life_days=0)
    record = applied(log_of(("n0", "impression"), ("n0", "share"), ("n0", "click")), TAGS, chosen)
    assert read(record, TAGS, chosen=chosen)["only 0"] == pytest.approx(5.6)
    assert open_profile(record, chosen).actions == 2


def test_actions_behind_a_tag_are_those_that_stand_newest_first() -> None:
    log = log_of(
        ("n0", "click", START),
        ("n0", "like", START + 5),
        ("n1", "favorite", START + 3),
        ("n1", "unfavorite", START + 9),
        ("n2", "click", 7),
    )
    record = applied(log, {"n0": ["a"], "n1": ["a"]})
    behind = actions_behind(open_profile(record, EXACT), tagged({"n2": ["a", "b"]}).get)
    assert [(one.note_id, one.action, one.occurred_at) for one in behind["a"]] == [
        ("n0", "like", START + 5),
        ("n0", "click", START),
        ("n2", "click", 7),
    ]
    assert [one.note_id for one in behind["b"]] == ["n2"]


def test_a_history_weighs_notes_by_what_stands_last_touched_first() -> None:
    log = log_of(("a", "click"), ("b", "like"), ("c", "like"), ("a", "click", START + DAY), ("c", "unlike"), ("d", "click"))
    profile = opened(log, {"a": ["x"], "b": ["y", "z"], "c": ["x"]})
    now = START + 31 * DAY
    found = history_at(profile, now, EXACT, {"d": tagged({"d": ["late"]})["d"]}.get)
    assert [(one.note_id, list(one.tags)) for one in found] == [("d", ["late"]), ("a", ["x"]), ("b", ["y", "z"])]
    assert [one.weight for one in found] == pytest.approx([2 ** (-31 / 30), 2 ** (-31 / 30) + 0.5, 2 * 2 ** (-31 / 30)])
    assert [one.note_id for one in history_at(profile, now, EXACT, lambda _: None, notes_max=2)] == ["d", "a"]
