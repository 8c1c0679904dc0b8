"""Lines of JSON to a topic: every line checked, the good ones published in order, the others reported with line, field and reason."""

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

from msgspec import Struct, field

from schemas.canary import CANARY_PREFIX, is_canary
from schemas.codec import decoder, version_headers
from schemas.errors import InvalidEvent
from schemas.events import EVENT_MAX_BYTES, Interaction, NoteEvent
from schemas.topics import Topic
from streams.jobs import Stop
from streams.roles import Publisher

Kind = Literal["notes", "interactions"]
LINE_MAX_BYTES = EVENT_MAX_BYTES + 65_536
FLUSH_S = 30.0
FLUSH_EVERY = 50_000


class Rejected(Struct, frozen=True):
    """A line that was not published. ``line`` starts at 1; ``field`` is a JSON path."""

    line: int
    field: str
    reason: str


class Published(Struct):
    """What became of a file. ``published`` counts acknowledged records; ``stopped_at`` is the last line before a requested stop, or 0."""

    published: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    stopped_at: int = 0


class Line(Struct, frozen=True, gc=False):
    """One line without its end; ``value`` None where it is longer than an event may be. ``end`` is the position after it in the file."""

    number: int
    value: bytes | None
    end: int


def read_lines(file: BinaryIO, limit: int = LINE_MAX_BYTES) -> Iterator[Line]:
    """Lines of any length in bounded memory: what is longer than ``limit`` bytes is passed over."""
    number = position = 0
    while chunk := file.readline(limit + 1):
        number += 1
        position += len(chunk)
        too_long = len(chunk) > limit and not chunk.endswith(b"\n")
        if too_long:
            while rest := file.readline(limit):
                position += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield Line(number, None if too_long else chunk.rstrip(b"\r\n"), position)


def publish_lines(
    file: BinaryIO,
    topic: Topic,
    publisher: Publisher,
    *,
    rate: float = 0.0,
    stop: Stop | None = None,
    on_line: Callable[[Line], None] | None = None,
) -> Published:
    """Publishes a file of note events or interactions.

    Args:
        file: one JSON document a line; blank lines are passed over but counted, a byte order mark is allowed.
        topic: where to; its event type decides the check and the key (``note_id`` or ``user_id``).
        rate: records per second, 0 for as fast as it goes.
        stop: ends early, after what was read is acknowledged.
        on_line: called for each line that is done with.

    Raises:
        Transient: no broker took the records within the time.
        PublishFailed: the broker refused some.
    """
    assert topic.event in {NoteEvent, Interaction}
    decode = decoder(topic.event)
    name_of_key = "note_id" if topic.event is NoteEvent else "user_id"
    report = Published()
    sent = 0
    started = time.monotonic()
    for line in read_lines(file):
        if stop is not None and stop.requested:
            report.stopped_at = line.number - 1
            break
        value = line.value.removeprefix(b"\xef\xbb\xbf") if line.number == 1 and line.value else line.value
        try:
            if value is None:
                raise InvalidEvent("$", f"the line is longer than {LINE_MAX_BYTES} bytes; an event may have {EVENT_MAX_BYTES}")
            if value.strip():
                event = decode(value, None)
                if is_canary(event.note_id):
                    raise InvalidEvent("$.note_id", f"ids that begin with {CANARY_PREFIX} are the pipeline's own; choose another")
                publisher.publish(topic.name, getattr(event, name_of_key).encode(), value, version_headers(event))
                sent += 1
                if sent % FLUSH_EVERY == 0:
                    publisher.flush(FLUSH_S)
                if rate:
                    _keep_pace(started, sent, rate)
        except InvalidEvent as error:
            report.rejected.append(Rejected(line.number, error.field, error.reason))
        if on_line is not None:
            on_line(line)
    publisher.flush(FLUSH_S)
    report.published = sent
    return report


def _keep_pace(started: float, sent: int, rate: float) -> None:
    ahead_s = started + sent / rate - time.monotonic()
    if ahead_s > 0:
        time.sleep(ahead_s)
