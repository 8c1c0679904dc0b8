"""Bytes to events and back: JSON by msgspec, the version in a header.

A record without a version header is read as version 1, so that any producer can write to the topics with plain JSON.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from schemas.errors import InvalidEvent
from schemas.events import (
    EVENT_MAX_BYTES,
    ID_MAX_BYTES,
    TEXT_MAX_BYTES,
    DeadLetterMark,
    Event,
    Interaction,
    NoteEvent,
    NoteTagged,
    TrainingExample,
)
from schemas.records import Headers

VERSION_HEADER = "tagstream-version"
VERSIONS: dict[type[Any], int] = {NoteEvent: 1, Interaction: 1, NoteTagged: 1, TrainingExample: 1, DeadLetterMark: 1}
_IDS = ("note_id", "user_id", "author_id", "event_id")
_AT = re.compile(r" - at `(?P<path>[^`]+)`$")
_NAMED = re.compile(r"required field `(?P<name>[^`]+)`")

E = TypeVar("E", bound=Event)
_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """One event as JSON bytes."""
    return _encoder.encode(event)


def version_headers(event: Event) -> Headers:
    """The headers every published event carries."""
    return [(VERSION_HEADER, str(VERSIONS[type(event)]).encode())]


def decoder(kind: type[E]) -> Callable[[bytes | None, Headers | None], E]:
    """A decoder of one event type.

    Returns:
        ``decode(value, headers) -> event``; it raises ``InvalidEvent`` with the JSON path of the field at fault and what to do about it.
    """
    parse = msgspec.json.Decoder(kind).decode
    newest = VERSIONS[kind]
    current = str(newest).encode()

    def decode(value: bytes | None, headers: Headers | None = None) -> E:
        if value is None:
            raise InvalidEvent("$", "the record has no value; send the event as JSON")
        if headers:
            for name, version in headers:
                if name == VERSION_HEADER and version != current:
                    raise InvalidEvent(f"header {VERSION_HEADER}", f"version {version!r} is unknown here; versions 1 to {newest} are read")
        if len(value) > EVENT_MAX_BYTES:
            raise InvalidEvent("$", f"{len(value)} bytes; an event may have {EVENT_MAX_BYTES}")
        try:
            event = parse(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _invalid(error) from None
        if not value.isascii() or b"\\u" in value:
            _check_bytes(event)
        if kind is NoteEvent and len(value) > TEXT_MAX_BYTES:
            _check_text(event)  # type: ignore[arg-type]
        return event

    return decode


def chunk_decoder(kind: type[E]) -> Callable[[list[bytes | None], list[Headers | None]], list[E] | None]:
    """``decoder`` for many records in one pass.

    Returns:
        ``decode(values, headers) -> events``, in order; None when some record needs a closer look, one by one, by ``decoder``.
    """
    parse = msgspec.json.Decoder(kind).decode
    plain: Headers = [(VERSION_HEADER, str(VERSIONS[kind]).encode())]
    roomy = TEXT_MAX_BYTES if kind is NoteEvent else EVENT_MAX_BYTES

    def decode(values: list[bytes | None], headers: list[Headers | None]) -> list[E] | None:
        if headers.count(plain) + headers.count(None) != len(headers):
            return None
        try:
            together = b"".join(values)  # type: ignore[arg-type]
            if len(together) > roomy and max(map(len, values)) > roomy:  # type: ignore[arg-type]
                return None
            events = list(map(parse, values))  # type: ignore[arg-type]
            if b"\\" in together or not together.isascii():  # one byte is looked for by memchr, six times as fast as two
                for value, event in zip(values, events, strict=True):
                    if not value.isascii() or b"\\u" in value:  # type: ignore[union-attr, operator]
                        _check_bytes(event)
        except (TypeError, InvalidEvent, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return events

    return decode


def _invalid(error: Exception) -> InvalidEvent:
    """msgspec's message split into path and reason."""
    reason = str(error)
    path = "$"
    if at := _AT.search(reason):
        path, reason = at["path"], reason[: at.start()]
    if named := _NAMED.search(reason):
        path, reason = f"{path}.{named['name']}", "required field is missing; add it"
    return InvalidEvent(path, reason)


def _check_bytes(event: Any) -> None:
    """Id limits are in bytes, msgspec counts characters: checked here for the events that are not plain ASCII."""
    for name in _IDS:
        identifier = getattr(event, name, None)
        if identifier is not None and len(identifier.encode()) > ID_MAX_BYTES:
            raise InvalidEvent(f"$.{name}", f"{len(identifier.encode())} bytes; an id may have {ID_MAX_BYTES}")


def _check_text(event: NoteEvent) -> None:
    size = len(event.title.encode()) + len(event.body.encode())
    if size > TEXT_MAX_BYTES:
        raise InvalidEvent("$.body", f"title and body have {size} bytes together; {TEXT_MAX_BYTES} are allowed")
