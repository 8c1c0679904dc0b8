"""The dead-letter record: the original key, value and headers untouched, and around them headers that say what happened.

| header | meaning |
|---|---|
| ``tagstream-dl-reason`` | short and stable: ``invalid_event``, ``poison``, ``degraded``, or the handler's reason |
| ``tagstream-dl-detail`` | one line for a person, with the remedy where there is one |
| ``tagstream-dl-field`` | JSON path of the field at fault, for ``invalid_event`` |
| ``tagstream-dl-stage`` | job that gave up, ``decode`` before it for an undecodable event (``tag-notes/decode``) |
| ``tagstream-dl-source`` | topic, partition and offset of the original, as JSON |
| ``tagstream-dl-timestamp`` | Kafka's timestamp of the original, epoch ms |
| ``tagstream-dl-first-failed-at``, ``tagstream-dl-last-failed-at`` | epoch ms |
| ``tagstream-dl-attempts`` | how often it failed; an event sent again from the dead letters goes on counting |
| ``tagstream-dl-no-value``, ``tagstream-dl-no-key`` | present when the original had none |
| ``tagstream-dl-redrive-of`` | the dead letter whose event was sent again and failed again: topic@topic id/partition/offset |

An event that is sent again carries, beside its own headers, ``first-failed-at``, ``attempts`` and ``redrive-of`` for the dead letter that
it may become again, and ``reason``, unless its value was corrected.
"""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from schemas.records import Headers, Message

PREFIX = "tagstream-dl-"
DETAIL_MAX_CHARS = 2000


class Coordinates(Struct, frozen=True):
    """Where the original record is."""

    topic: str
    partition: int
    offset: int


class Failure(Struct, frozen=True):
    """Why an event is given up. ``field`` is a JSON path or empty."""

    reason: str
    detail: str
    stage: str
    field: str = ""


class DeadLetter(Struct, frozen=True):
    """A dead-letter record read back. ``headers`` are the original ones. Times are epoch ms."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    failure: Failure
    source: Coordinates
    timestamp: int
    first_failed_at: int
    last_failed_at: int
    attempts: int
    redrive_of: str = ""


def dead_letter_headers(message: Message, failure: Failure, now: Callable[[], float] = time.time) -> Headers:
    """Headers of the record that replaces ``message`` in the dead-letter topic."""
    original: Headers = []
    earlier: dict[str, bytes | None] = {}
    for name, value in message.headers() or []:
        if name.startswith(PREFIX):
            earlier[name[len(PREFIX) :]] = value
        else:
            original.append((name, value))
    failed_at = int(now() * 1000)
    source = Coordinates(message.topic() or "", _number(message.partition()), _number(message.offset()))
    _, timestamp = message.timestamp()
    told: dict[str, bytes] = {
        "reason": failure.reason.encode(),
        "detail": failure.detail[:DETAIL_MAX_CHARS].encode(errors="replace"),
        "field": failure.field.encode(errors="replace"),
        "stage": failure.stage.encode(),
        "source": msgspec.json.encode(source),
        "timestamp": str(timestamp).encode(),
        "first-failed-at": str(_told(earlier.get("first-failed-at")) or failed_at).encode(),
        "last-failed-at": str(failed_at).encode(),
        "attempts": str(_told(earlier.get("attempts")) + 1).encode(),
    }
    if sent_from := earlier.get("redrive-of"):
        told["redrive-of"] = sent_from
    if message.value() is None:
        told["no-value"] = b"1"
    if message.key() is None:
        told["no-key"] = b"1"
    return original + [(PREFIX + name, value) for name, value in told.items()]


def read_dead_letter(message: Message) -> DeadLetter:
    """A record of a dead-letter topic, taken apart.

    Raises:
        ValueError: the record does not have the headers of a dead letter.
    """
    told: dict[str, str] = {}
    original: Headers = []
    for name, value in message.headers() or []:
        if name.startswith(PREFIX):
            told[name[len(PREFIX) :]] = (value or b"").decode(errors="replace")
        else:
            original.append((name, value))
    try:
        return DeadLetter(
            key=None if "no-key" in told else message.key(),
            value=None if "no-value" in told else message.value(),
            headers=original,
            failure=Failure(told["reason"], told["detail"], told["stage"], told["field"]),
            source=msgspec.json.decode(told["source"], type=Coordinates),
            timestamp=int(told["timestamp"]),
            first_failed_at=int(told["first-failed-at"]),
            last_failed_at=int(told["last-failed-at"]),
            attempts=int(told["attempts"]),
            redrive_of=told.get("redrive-of", ""),
        )
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"not a dead letter: {error}") from None


def redrive_headers(letter: DeadLetter, letter_id: str, *, corrected: bool) -> Headers:
    """Headers under which the event of a dead letter is sent again.

    Args:
        letter_id: which dead letter it is, for ``redrive-of``.
        corrected: its value is another one now, so that what a job knows of the event need not hold for it.
    """
    told = {
        "first-failed-at": str(letter.first_failed_at),
        "attempts": str(letter.attempts),
        "redrive-of": letter_id,
    }
    if not corrected:
        told["reason"] = letter.failure.reason
    return letter.headers + [(PREFIX + name, value.encode()) for name, value in told.items()]


def sent_again_from(headers: Headers | None) -> str:
    """The dead letter that a record was sent again from; empty for any other record."""
    return _header(headers, "redrive-of")


def redriven_reason(headers: Headers | None) -> str:
    """Why a record that was sent again as it was had been a dead letter; empty for any other record."""
    return _header(headers, "reason")


def attempts_of(headers: Headers | None) -> int:
    """How often the event of a record that was sent again had failed; 0 for any other record."""
    return _told(_header(headers, "attempts").encode())


def _header(headers: Headers | None, name: str) -> str:
    wanted = PREFIX + name
    return next(((value or b"").decode(errors="replace") for found, value in headers or () if found == wanted), "")


def _told(told: bytes | None) -> int:
    """A number that an earlier dead letter told; 0 where a producer made something else of our header."""
    return int(told) if told and told.isdigit() else 0


def _number(value: int | None) -> int:
    return -1 if value is None else value
