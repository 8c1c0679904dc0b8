"""A gathered batch says of each reader what the events said, keeps original bytes where they may be needed, and forgets what is dropped."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.profile import CODES, pack_tags, rules_of
from models.profile_batch import Original, ProfileBatch, pack_facts, pack_notes
from models.profile_update import _unpacked
from schemas.events import Action, Interaction, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import ProfileRecord
from schemas.writes import PutProfile
from streams.memory import MemoryMessage

RULES = rules_of(Settings())
HEADERS = [("own", b"1"), ("own", None)]
TAGS = {"n1": pack_tags([Tag(text="red", dimension="d", rank=1, confidence=1.0)])}
ACTIONS: list[Action] = ["click", "like", "unlike", "impression"]
STEPS = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from(["n1", "n2"]), st.sampled_from(ACTIONS), st.integers(0, 1)), max_size=30)


def log_of(steps: list[tuple[str, str, Action, int]]) -> list[Received[Interaction]]:
    log = []
    for offset, (user, note, action, partition) in enumerate(steps):
        event = Interaction(event_id=f"e{offset}", user_id=user, note_id=note, action=action, occurred_at=offset)
        message = MemoryMessage(topic="t", partition=partition, offset=offset, value=b"raw %d" % offset, headers=HEADERS)
        log.append(Received(event, "t@1", partition, offset, message))
    return log


def gathered(log: list[Received[Interaction]], cut: int = 0, known: set[str] = frozenset()) -> ProfileBatch:  # type: ignore[assignment]
    batch = ProfileBatch(RULES, known)
    batch.add(log[:cut])
    batch.add(log[cut:])
    return batch


@given(STEPS, st.integers(0, 30))
def test_facts_are_those_of_the_events_wherever_the_chunks_are_cut(steps, cut):
    log = log_of(steps)
    batch = gathered(log, cut)
    assert len(batch) == len(log)
    assert batch.ordered
    traced = [one for one in log if one.event.action != "impression"]
    assert sum(len(actions) for readers in batch.places.values() for actions in readers.values()) == 3 * len(traced)
    notes = pack_notes(batch.notes, TAGS)
    for place, readers in batch.places.items():
        for user, actions in readers.items():
            mine = [one for one in traced if one.event.user_id == user and place == f"t@1/{one.partition}"]
            facts = _unpacked(len(mine), b"".join(pack_facts(actions, notes)))
            assert actions[::3] == [one.offset for one in mine]
            assert [(code, at) for code, at, _, _ in facts] == [(CODES[one.event.action], one.event.occurred_at) for one in mine]
            assert [fact[3] for fact in facts] == [["n1", TAGS["n1"]] if one.event.note_id == "n1" else ["n2"] for one in mine]


def test_originals_are_kept_only_of_actions_on_notes_that_are_not_known():
    log = log_of([("u", "n1", "click", 0), ("u", "n2", "like", 1), ("u", "n2", "impression", 1)])
    assert gathered(log, known={"n1"}).originals == {("t@1/1", 1): Original(b"raw 1", HEADERS)}


def test_actions_sent_again_after_they_were_given_up_are_noted_and_others_are_not():
    log = log_of([("u", "n1", "click", 0), ("u", "n1", "click", 1), ("u", "n1", "click", 0), ("v", "n1", "click", 1)])
    reasons = ["note_never_tagged", "too_many_pending", "invalid_event", ""]
    batch = gathered([replace(one, redriven=reason) for one, reason in zip(log, reasons, strict=True)])
    assert batch.redriven == {("t@1/0", 0), ("t@1/1", 1)}
    assert batch.again([PutProfile("u", b"", ProfileRecord())]).redriven == batch.redriven
    batch.drop({1})
    assert batch.redriven == {("t@1/0", 0)}


@given(STEPS, st.sampled_from([{0}, {1}, {0, 1}, {7}]))
def test_dropped_partitions_leave_nothing(steps, partitions):
    log = log_of(steps)
    batch = gathered(log)
    batch.drop(partitions)
    left = gathered([one for one in log if one.partition not in partitions])
    assert (len(batch), batch.places, batch.originals) == (len(left), left.places, left.originals)
    assert not any(batch.holds(one.partition, one.offset) for one in log if one.partition in partitions)
    assert all(batch.holds(one.partition, one.offset) for one in log if one.partition not in partitions)


@given(STEPS)
def test_again_is_the_part_of_the_refused_readers(steps):
    batch = gathered(log_of(steps))
    part = batch.again([PutProfile("u", b"", ProfileRecord())])
    assert {user for readers in part.places.values() for user in readers} <= {"u"}
    for place, readers in batch.places.items():
        assert part.places.get(place, {}).get("u") == readers.get("u")
    assert len(part) == sum(one[0] == "u" and one[2] != "impression" for one in steps)
    assert len(batch.again([])) == 0


def test_offsets_that_do_not_rise_are_noticed():
    log = log_of([("u", "n1", "click", 0), ("u", "n1", "click", 0)])
    assert not gathered([*log, log[1]]).ordered
