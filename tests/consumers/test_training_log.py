"""Training examples hold what was known just before, whatever is delivered again, and logging never changes a record."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from msgspec.structs import replace

from consumers.training_log import TrainingLog, wanted_by
from consumers.update_profiles import UpdateProfiles
from models.profile import history_at
from models.profile_update import open_profile
from recall.note_tags import StoredNoteTags
from schemas.codec import decoder, encode
from schemas.events import Action, Interaction, TrainingExample
from schemas.records import Received
from schemas.settings import Settings
from schemas.writes import GiveUp, Publish, PutProfile, Write
from tests.consumers.test_update_profiles import EXACT, HOUR, Rig, put_tags, received
from tests.e2e.example_oracle import expected_examples

ALL = replace(EXACT, training_examples_rate=1.0, training_examples_impressions=1.0, training_examples_tags=1000, profile_pending_hours=1e6)
"""The oracle waits for tags for ever."""
TAGS = {"n1": ["a", "b"], "n2": ["b"], "n3": []}
ACTIONS: list[Action] = ["click", "like", "favorite", "unlike", "unfavorite", "comment", "impression"]
made = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from(["n1", "n2", "n3", "bare"]), st.sampled_from(ACTIONS), st.integers(0, 30)),
    max_size=40,
)
Step = tuple[str, str, Action, int]


class LogRig(Rig):
    """The job with its log over in-memory stores."""

    def __init__(self, settings: Settings = ALL, tags: bool = True) -> None:
        super().__init__(settings)
        known = StoredNoteTags(self.notes)
        self.log = TrainingLog(self.profiles, known, self.notes, settings, topic="training-examples", bundle="b1")
        self.job = UpdateProfiles(self.profiles, known, settings, self.log)
        for note, texts in TAGS.items() if tags else ():
            put_tags(self.notes, note, *texts)


def logged(writes: Sequence[Write]) -> list[TrainingExample]:
    return [write.event for write in writes if isinstance(write, Publish) and isinstance(write.event, TrainingExample)]


def log_of(steps: Sequence[Step]) -> list[Received[Interaction]]:
    return [received(user, note, action, offset, at=1 + at * HOUR) for offset, (user, note, action, at) in enumerate(steps)]


def history(example: TrainingExample) -> list[tuple[str, float, int]]:
    return list(zip(example.history_notes, example.history_weights, example.history_at, strict=True))


def close(found: list[tuple[str, float, int]], wanted: list[tuple[str, float, int]]) -> bool:
    return [(n, at) for n, _, at in found] == [(n, at) for n, _, at in wanted] and [w for _, w, _ in found] == pytest.approx(
        [w for _, w, _ in wanted], rel=1e-9
    )


@examples(max_examples=200)
@given(made)
def test_examples_equal_the_oracle(steps: list[Step]) -> None:
    rig, log = LogRig(), log_of(steps)
    found = logged(rig.run(*log))
    want = expected_examples([one.event for one in log], TAGS)
    assert sorted(one.event_id for one in found) == sorted(one.event.event_id for one in log)
    for one in found:
        known = want[one.event_id]
        assert close(history(one), known.history), one
        assert dict(zip(one.profile_tags, one.profile_scores, strict=True)) == pytest.approx(known.scores, rel=1e-9)
        assert one.tags == TAGS.get(one.note_id)


@examples(max_examples=100)
@given(made, st.lists(st.integers(1, 40), max_size=6))
def test_records_are_the_same_with_and_without_logging_however_the_log_is_cut(steps: list[Step], cuts: list[int]) -> None:
    log = log_of(steps)
    plain, with_log = LogRig(replace(ALL, training_examples_rate=0.0)), LogRig()
    plain.job = UpdateProfiles(plain.profiles, StoredNoteTags(plain.notes), plain.settings)
    whole = {one.event_id: one for one in logged(LogRig().run(*log))}
    start, seen = 0, dict[str, TrainingExample]()
    for length in [*cuts, len(log) + 1]:
        part = log[max(0, start - 2) : start + length]
        plain.run(*part)
        for one in logged(with_log.run(*part)):
            assert one.event_id not in seen or one.action == "impression", "applied before, logged again"
            seen[one.event_id] = one
        start = min(start + length, len(log))
    assert with_log.profiles.parts == plain.profiles.parts
    assert seen == whole, "where batches are cut makes no difference"


def test_history_is_what_recall_reads_at_that_moment() -> None:
    rig = LogRig(replace(ALL, training_examples_history=2))
    rig.run(*log_of([("u", "n1", "click", 0), ("u", "n2", "like", 1), ("u", "n3", "favorite", 2)]))
    (example,) = logged(rig.run(received("u", "n1", "like", 9, at=50 * HOUR)))
    profile = open_profile(rig.profiles.read(["u"])["u"].record, rig.settings)
    profile.notes["n1"].liked_at = None
    reference = history_at(profile, 50 * HOUR, rig.settings, lambda _: None)
    wanted = {one.note_id: one.weight for one in reference}
    assert example.history_notes == ["n3", "n2"], "two notes, the one touched last first"
    assert example.history_weights == pytest.approx([wanted["n3"], wanted["n2"]])
    assert (example.partition, example.offset, example.source, example.bundle) == (0, 9, "interactions@t", "b1")
    assert decoder(TrainingExample)(encode(example)) == example


def test_a_late_event_sees_nothing_that_happened_after_it() -> None:
    rig = LogRig()
    rig.run(received("u", "n1", "click", 0, at=100 * HOUR), received("u", "n2", "click", 1, at=10 * HOUR))
    (late,) = logged(rig.run(received("u", "n3", "click", 2, at=50 * HOUR)))
    assert (late.history_notes, late.history_at, late.profile_tags) == (["n2"], [10 * HOUR], ["b"])


def test_tags_of_a_later_version_of_the_note_are_not_known_yet() -> None:
    rig = LogRig(tags=False)
    put_tags(rig.notes, "n1", "new", at=20 * HOUR)
    early, late = logged(rig.run(received("u", "n1", "click", 0, at=10 * HOUR), received("u", "n1", "click", 1, at=20 * HOUR)))
    assert (early.tags, early.tags_at, late.tags, late.tags_at) == (None, None, ["new"], 20 * HOUR)


def test_of_a_refused_write_nothing_is_logged_until_it_is_decided_again() -> None:
    rig = LogRig()
    batch = rig.job.gather()
    batch.add([received("u", "n1", "click", 5), received("v", "n1", "click", 6)])
    read = rig.profiles.read

    def read_late(user_ids: Sequence[str]):  # somebody writes between the decision and the log's reading
        rig.profiles.read = read
        LogRig.run(rival, received("u", "n2", "like", 5, partition=1, at=500))
        return read(user_ids)

    rival = LogRig()
    rival.profiles, rival.store = rig.profiles, rig.store
    rival.job = UpdateProfiles(rig.profiles, StoredNoteTags(rig.notes), rig.settings)
    rig.profiles.read = read_late
    writes = rig.job.handle(batch)
    assert [one.user_id for one in logged(writes)] == ["v"]
    conflicts = rig.store.apply([write for write in writes if isinstance(write, PutProfile)]).conflicts
    (again,) = logged(rig.job.handle(batch.again(conflicts)))
    assert (again.user_id, again.offset, again.history_notes) == ("u", 5, ["n2"])


def test_an_event_id_sent_twice_is_one_example() -> None:
    rig = LogRig()
    first = received("u", "n1", "click", 0)
    twice = Received(first.event, first.source, 0, 1, first.message)
    assert [one.offset for one in logged(rig.run(first, twice))] == [0]


def test_an_action_sent_again_after_it_was_given_up_is_no_second_example() -> None:
    rig = LogRig(replace(ALL, profile_max_pending=1))
    first = received("u", "bare", "like", 0)
    assert len(logged(rig.run(first, received("u", "bare2", "like", 1, at=2_000)))) == 2
    put_tags(rig.notes, "bare", "x")
    copy = replace(first, offset=2, redriven="too_many_pending")
    found = logged(rig.run(copy, received("u", "n1", "click", 3, at=3_000)))
    assert [(one.offset, dict(zip(one.profile_tags, one.profile_scores, strict=True)).get("x", 0.0) > 1.9) for one in found] == [(3, True)]


def test_what_waits_or_is_given_up_does_not_stop_the_log() -> None:
    rig = LogRig(replace(ALL, profile_max_pending=1))
    writes = rig.run(
        received("u", "bare", "like", 0), received("u", "bare2", "like", 1, at=2_000), received("u", "n1", "like", 2, at=3_000)
    )
    assert [write.reason for write in writes if isinstance(write, GiveUp)] == ["too_many_pending"]
    assert [one.history_notes for one in logged(writes)] == [[], ["bare"], ["bare2"]]


def test_partitions_that_went_are_not_logged() -> None:
    rig = LogRig()
    batch = rig.job.gather()
    batch.add([received("u", "n1", "click", 0), received("u", "n1", "click", 0, partition=1)])
    batch.drop({0})
    assert [one.partition for one in logged(rig.job.handle(batch))] == [1]


def test_the_sample_is_a_share_and_always_the_same() -> None:
    events = [received("u", "n", "click" if n % 2 else "impression", n).event for n in range(4_000)]
    some = wanted_by(replace(ALL, training_examples_rate=0.2, training_examples_impressions=0.05))
    clicks = [some(event) for event in events if event.action == "click"]
    shown = [some(event) for event in events if event.action == "impression"]
    assert 0.15 < sum(clicks) / 2_000 < 0.25
    assert 0.03 < sum(shown) / 2_000 < 0.07
    assert [some(event) for event in events if event.action == "click"] == clicks
    assert all(map(wanted_by(ALL), events))
    assert not any(map(wanted_by(EXACT), events))
