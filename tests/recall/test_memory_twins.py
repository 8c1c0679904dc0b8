"""What the twins in memory answer fast is what a plain loop answers, ties included."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recall.memory_index import MemoryNoteIndex
from recall.memory_notes import MemoryNotes
from recall.stores import Look, Window
from schemas.events import Tag
from schemas.stored import NoteRecord
from schemas.writes import DropVector, PutNote, PutVector

BOUND = st.one_of(st.none(), st.integers(0, 6))
VECTOR = st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from([0.0, 2.0]))
WRITES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 6), st.one_of(st.none(), VECTOR)), min_size=1, max_size=20)


@settings(max_examples=150)
@given(WRITES, st.integers(0, 9), BOUND, BOUND)
def test_a_search_is_a_stable_sort_of_what_the_window_accepts(
    writes: list[tuple[int, int, tuple[float, float] | None]], k: int, since: int | None, until: int | None
) -> None:
    index, held = MemoryNoteIndex(2), dict[str, tuple[int, np.ndarray]]()
    query = np.array([[1.0, 0.5]], np.float32)
    for note, at, vector in writes:
        if vector is None:
            index.drop([DropVector(f"n{note}")])
            held.pop(f"n{note}", None)
        else:
            index.upsert([PutVector(f"n{note}", "a", None, at, 1, np.array(vector, np.float32))])
            held[f"n{note}"] = (at, np.array(vector, np.float32))
        index.search(query, 3, Window())
    rows = [
        (note_id, float(vector @ query[0]), at)
        for note_id, (at, vector) in held.items()
        if (since is None or at >= since) and (until is None or at <= until)
    ]
    assert index.search(query, k, Window(since, until)) == [sorted(rows, key=lambda row: -row[1])[:k]]


TAGGED = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.lists(st.sampled_from("abcd"), unique=True, max_size=3)), min_size=1, max_size=20
)


@settings(max_examples=150)
@given(
    TAGGED, st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.0, 0.1, 0.2, 0.3]), max_size=4), st.integers(0, 4), BOUND, BOUND
)
def test_shared_sums_list_by_list(
    writes: list[tuple[int, int, list[str]]], weights: dict[str, float], limit: int, since: int | None, until: int | None
) -> None:
    notes, held = MemoryNotes(), dict[str, tuple[int, list[str]]]()
    window = Window(since, until)
    for order, (note, at, texts) in enumerate(writes):
        tags = [Tag(text=text, dimension="", rank=rank, confidence=1.0) for rank, text in enumerate(texts, 1)]
        notes.put([PutNote(NoteRecord(f"n{note}", "a", order, False, 0, b"", at, None, tags, "", "t", [], {}))])
        held[f"n{note}"] = (at, texts)
        notes.look(Look(tags=tuple(weights)), window, limit)
    sums, cut = dict[str, float](), False
    for text, weight in weights.items():
        listed = [(at, note_id) for note_id, (at, texts) in held.items() if text in texts]
        within = [one for one in listed if (since is None or one[0] >= since) and (until is None or one[0] <= until)]
        newest = sorted(within, reverse=True)[:limit]
        cut = cut or len(newest) >= limit
        for _, note_id in newest:
            sums[note_id] = sums.get(note_id, 0.0) + weight
    listed = notes.look(Look(tags=tuple(weights)), window, limit).listed
    assert listed.cut == cut
    for best in (0, 1, 2, 50):
        least = min(sorted(sums.values(), reverse=True)[:best], default=math.inf)
        assert listed.sums(weights, best) == {note_id: total for note_id, total in sums.items() if total >= least}
    assert notes.tag_counts(list(weights), until).tagged == {
        text: sum(text in texts and (until is None or at <= until) for at, texts in held.values()) for text in weights
    }
