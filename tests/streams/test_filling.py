"""One pass over a chunk gives what decoding one by one gives, whatever is in the chunk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decoder
from schemas.errors import InvalidEvent
from schemas.events import Interaction, NoteEvent
from streams.filling import Filling
from streams.memory import MemoryMessage

GOOD = {"event_id": "e", "user_id": "u", "note_id": "n", "action": "click", "occurred_at": 1}
VALUES = st.sampled_from(
    [
        json.dumps(GOOD).encode(),
        json.dumps(GOOD | {"note_id": "衬衫 \\ 👟"}, ensure_ascii=False).encode(),
        json.dumps(GOOD | {"note_id": "é" * 128}).encode(),
        json.dumps(GOOD | {"note_id": "é" * 129}).encode(),
        json.dumps(GOOD | {"note_id": "é" * 129}, ensure_ascii=False).encode(),
        b"{",
        b"\xff",
        b"",
        None,
    ]
)
HEADERS = st.sampled_from(
    [None, [], [("tagstream-version", b"1")], [("tagstream-version", b"2")], [("trace", b"x"), ("tagstream-version", b"1")]]
)


@given(st.lists(st.tuples(VALUES, HEADERS, st.integers(0, 2)), max_size=12))
def test_agrees_with_decoding_one_by_one(records):
    decode = decoder(Interaction)
    chunk = [MemoryMessage(topic="t", partition=p, offset=n, value=v, headers=h) for n, (v, h, p) in enumerate(records)]
    filling = Filling(Interaction)
    filling.add(chunk, "t@1", frozenset({0, 1}))
    good, refused = [], []
    for message in chunk:
        if message.partition() == 2:
            continue
        try:
            good.append((decode(message.value(), message.headers()), message.partition(), message.offset()))
        except InvalidEvent as error:
            refused.append((message.offset(), str(error), len(good)))
    batch = filling.take()
    assert [(e.event, e.partition, e.offset) for e in batch.events] == good
    assert [(r.message.offset(), str(r.error), r.after) for r in batch.refused] == refused
    assert batch.last == {m.partition(): m.offset() for m in chunk if m.partition() != 2}
    assert len(filling) == 0


@pytest.mark.parametrize("escape", [True, False])
def test_a_chunk_of_plain_records_still_has_its_ids_measured_in_bytes(escape):
    """258 bytes in 129 characters: what the parser's own limit, which counts characters, lets through."""
    values = [json.dumps(GOOD | {"note_id": letter * 129}, ensure_ascii=escape).encode() for letter in "aéb"]
    filling = Filling(Interaction)
    filling.add([MemoryMessage(topic="t", partition=0, offset=n, value=v) for n, v in enumerate(values)], "t@1", frozenset({0}))
    batch = filling.take()
    assert [e.offset for e in batch.events] == [0, 2] and [r.error.field for r in batch.refused] == ["$.note_id"]


@given(st.sets(st.integers(0, 2)))
def test_dropped_partitions_leave_no_trace(dropped):
    values = [json.dumps(GOOD).encode(), b"{"]
    chunk = [MemoryMessage(topic="t", partition=n % 3, offset=n, value=values[n % 2]) for n in range(12)]
    filling = Filling(Interaction)
    filling.add(chunk, "t@1", frozenset(range(3)))
    filling.drop(dropped)
    batch = filling.take()
    kept = [n for n in range(12) if n % 3 not in dropped]
    assert sorted([e.offset for e in batch.events] + [r.message.offset() for r in batch.refused]) == kept
    assert set(batch.last) == {0, 1, 2} - dropped


def test_one_long_note_does_not_hide_among_short_ones():
    note = {"type": "note.published", "note_id": "n", "author_id": "a", "occurred_at": 1, "published_at": 1}
    values = [json.dumps(note | {"body": "x" * size}).encode() for size in (10, 1_000_001, 10)]
    filling = Filling(NoteEvent)
    filling.add([MemoryMessage(topic="t", partition=0, offset=n, value=v) for n, v in enumerate(values)], "t@1", frozenset({0}))
    batch = filling.take()
    assert [e.offset for e in batch.events] == [0, 2] and [r.error.field for r in batch.refused] == ["$.body"]
