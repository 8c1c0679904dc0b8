"""What a reader must not get, and that every removal has a reason."""

from hypothesis import given
from hypothesis import strategies as st

from recall.filters import MEANING, Judge, Reason, known, live, no_canary, not_own, original, split, unseen, within
from recall.merge import Candidate
from recall.stores import Window
from schemas.canary import CANARY_PREFIX, CANARY_READER
from schemas.stored import NoteRecord


def record(note_id: str, author: str = "a", published_at: int = 100, fingerprint: str = "", deleted: bool = False) -> NoteRecord:
    return NoteRecord(
        note_id=note_id,
        author_id=author,
        occurred_at=published_at,
        deleted=deleted,
        revision=0,
        digest=b"",
        published_at=published_at,
        category=None,
        tags=[],
        fingerprint=fingerprint,
        tagger="test",
        degraded=[],
        stages={},
    )


def removed(judge: Judge, *note_ids: str) -> dict[str, tuple[Reason, str]]:
    _, out = split([Candidate(note_id, 0) for note_id in note_ids], judge)
    return {one.note_id: (one.reason, one.detail) for one in out}


def test_notes_without_record_are_unknown() -> None:
    assert removed(known({"n1": record("n1")}), "n1", "n2") == {"n2": ("unknown", "")}


def test_deleted_notes_go() -> None:
    assert removed(live({"n1": record("n1"), "n2": record("n2", deleted=True)}), "n1", "n2") == {"n2": ("deleted", "")}


def test_the_readers_own_notes_go() -> None:
    records = {"n1": record("n1", author="me"), "n2": record("n2", author="you")}
    assert removed(not_own(records, "me"), "n1", "n2") == {"n1": ("own", "")}


def test_notes_acted_on_go() -> None:
    assert removed(unseen({"n1"}), "n1", "n2") == {"n1": ("seen", "")}


def test_canaries_go_for_everybody_but_the_reader_that_looks_for_them() -> None:
    assert removed(no_canary("me"), f"{CANARY_PREFIX}01", "n1", f"n{CANARY_PREFIX}") == {f"{CANARY_PREFIX}01": ("canary", "")}
    assert removed(no_canary(CANARY_READER), f"{CANARY_PREFIX}01", "n1") == {}


def test_the_window_includes_both_ends_and_an_open_end_includes_all() -> None:
    records = {f"n{at}": record(f"n{at}", published_at=at) for at in (99, 100, 200, 201)}
    assert removed(within(records, Window(100, 200)), *records) == {"n99": ("outside_window", "99"), "n201": ("outside_window", "201")}
    assert removed(within(records, Window(100, None)), *records) == {"n99": ("outside_window", "99")}
    assert removed(within(records, Window()), *records) == {}


def test_of_reposts_the_first_stays_and_none_of_one_acted_on() -> None:
    records = {name: record(name, fingerprint=text) for name, text in (("n1", "x"), ("n2", "x"), ("n3", "y"), ("n4", ""), ("n5", ""))}
    out = removed(original(records, {"y": "liked before"}), *records)
    assert out == {"n2": ("duplicate", "n1"), "n3": ("duplicate", "liked before")}


RECORDS = st.dictionaries(
    st.sampled_from([f"n{i}" for i in range(8)]),
    st.builds(
        record,
        note_id=st.just(""),
        author=st.sampled_from(["me", "you"]),
        published_at=st.integers(0, 9),
        fingerprint=st.sampled_from(["", "x", "y"]),
        deleted=st.booleans(),
    ),
)


@given(RECORDS, st.lists(st.sampled_from([f"n{i}" for i in range(10)]), unique=True), st.sets(st.sampled_from([f"n{i}" for i in range(8)])))
def test_every_candidate_is_kept_or_removed_with_a_reason(records: dict[str, NoteRecord], note_ids: list[str], seen: set[str]) -> None:
    judges = [
        known(records),
        live(records),
        not_own(records, "me"),
        unseen(seen),
        within(records, Window(3, 7)),
        original(records, {"y": "z"}),
    ]
    kept, out = [Candidate(note_id, 0) for note_id in note_ids], []
    for judge in judges:
        before = [c.note_id for c in kept]
        kept, gone = split(kept, judge)
        assert sorted([c.note_id for c in kept] + [one.note_id for one in gone]) == sorted(before)
        assert [c.note_id for c in kept] == [note_id for note_id in before if note_id not in {one.note_id for one in gone}]
        out += gone
    assert all(one.reason in MEANING for one in out)
    texts = [records[c.note_id].fingerprint for c in kept if records[c.note_id].fingerprint]
    assert len(texts) == len(set(texts)) and "y" not in texts
    for candidate in kept:
        held = records[candidate.note_id]
        assert not held.deleted and held.author_id != "me" and candidate.note_id not in seen and 3 <= held.published_at <= 7
