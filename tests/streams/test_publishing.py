"""Files of JSON lines: the good lines are published in order, every bad one is named by line, field and reason."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import VERSION_HEADER
from schemas.topics import INTERACTIONS, NOTE_EVENTS
from streams.jobs import Stop
from streams.memory import MemoryLog, MemoryPublisher
from streams.publishing import LINE_MAX_BYTES, publish_lines, read_lines


def action(number, **fields):
    return {"event_id": f"e{number}", "user_id": f"u{number % 3}", "note_id": "n", "action": "click", "occurred_at": number} | fields


def publish(text, topic=INTERACTIONS, **options):
    log = MemoryLog()
    log.create(topic)
    report = publish_lines(io.BytesIO(text if isinstance(text, bytes) else text.encode()), topic, MemoryPublisher(log), **options)
    return report, log.records(topic.name)


def lines(*documents):
    return "".join(json.dumps(document) + "\n" for document in documents)


def test_good_lines_travel_as_they_are_with_key_and_version():
    report, records = publish(lines(action(1), action(2, extra="kept")))
    assert (report.published, report.rejected) == (2, [])
    by_key = {record.key(): record for record in records}
    assert json.loads(by_key[b"u2"].value()) == action(2, extra="kept")
    assert by_key[b"u1"].headers() == [(VERSION_HEADER, b"1")]


def test_notes_are_keyed_by_note_id():
    note = {"type": "note.published", "note_id": "n 1", "author_id": "a", "occurred_at": 1, "published_at": 1}
    _, [record] = publish(lines(note), NOTE_EVENTS)
    assert record.key() == b"n 1"


def test_bad_lines_are_named_and_the_rest_is_published():
    text = (
        lines(action(1)) + "not json\n\n  \n" + lines(action(2, occurred_at="yesterday"), {"event_id": "x"}) + lines(action(3)).rstrip("\n")
    )
    report, records = publish(text)
    assert report.published == 2 == len(records)
    assert [(r.line, r.field) for r in report.rejected] == [(2, "$"), (5, "$.occurred_at"), (6, "$.user_id")]
    assert all(r.reason for r in report.rejected)


def test_ids_of_canaries_are_refused_in_notes_and_in_interactions():
    note = {"type": "note.published", "note_id": "tagstream-canary-01", "author_id": "a", "occurred_at": 1, "published_at": 1}
    report, records = publish(lines(note, note | {"note_id": "my-tagstream-canary-01"}), NOTE_EVENTS)
    assert [record.key() for record in records] == [b"my-tagstream-canary-01"]
    (bad,) = report.rejected
    assert (bad.line, bad.field) == (1, "$.note_id")
    assert "tagstream-canary-" in bad.reason and "choose another" in bad.reason
    report, records = publish(lines(action(1, note_id="tagstream-canary-01"), action(2)))
    assert ([bad.field for bad in report.rejected], len(records)) == (["$.note_id"], 1)


def test_order_per_key_is_the_order_of_the_file():
    _, records = publish(lines(*(action(n) for n in range(99))))
    for user in range(3):
        numbers = [json.loads(r.value())["occurred_at"] for r in records if r.key() == f"u{user}".encode()]
        assert numbers == list(range(user, 99, 3))


def test_windows_lines_and_a_byte_order_mark_are_read():
    report, records = publish(b"\xef\xbb\xbf" + lines(action(1)).replace("\n", "\r\n").encode() + lines(action(2)).encode())
    assert report.published == 2
    assert not any(r.value().endswith(b"\r") or r.value().startswith(b"\xef") for r in records)


def test_a_line_without_end_is_refused_in_bounded_memory():
    class Endless(io.RawIOBase):
        """10 GB of x on one line, then a good line."""

        largest, left, tail = 0, 10_000_000_000, io.BytesIO(b"\n" + lines(action(1)).encode())

        def readline(self, size=-1):
            self.largest = max(self.largest, size)
            if self.left > 0:
                self.left -= 2_000_000_000  # as if it had been read in pieces
                return b"x" * min(size, LINE_MAX_BYTES + 1)
            return self.tail.readline(size)

    log = MemoryLog()
    log.create(INTERACTIONS)
    file = Endless()
    report = publish_lines(file, INTERACTIONS, MemoryPublisher(log))
    assert (report.published, [r.line for r in report.rejected]) == (1, [1])
    assert file.largest <= LINE_MAX_BYTES + 1


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=12), st.integers(1, 8))
def test_lines_are_numbered_and_cut_as_a_plain_split_does(parts, limit):
    text = b"".join(part + b"\n" for part in parts)
    found = list(read_lines(io.BytesIO(text), limit))
    assert [line.number for line in found] == list(range(1, len(parts) + 1))
    assert [line.value for line in found] == [part if len(part) <= limit else None for part in parts]
    assert not found or found[-1].end == len(text)


def test_a_stop_ends_between_two_lines_and_says_where():
    stop = Stop()
    report, records = publish(
        lines(*(action(n) for n in range(10))), stop=stop, on_line=lambda line: stop.request() if line.number == 4 else None
    )
    assert (report.published, report.stopped_at, len(records)) == (4, 4, 4)
