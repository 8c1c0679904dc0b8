"""Where the writes of a dry run go: to standard output, a line each, and nowhere else."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schemas.records import Headers
from schemas.writes import DropVector, PutNote, PutProfile, PutVector
from streams.roles import Applied


def describe(write: PutNote | PutVector | DropVector | PutProfile) -> dict[str, Any]:
    """A write in a line: what, whose, and of what size."""
    name = type(write).__name__
    if isinstance(write, PutNote):
        record = write.record
        return {"write": name, "note_id": record.note_id, "deleted": record.deleted, "tags": [tag.text for tag in record.tags]}
    if isinstance(write, PutVector):
        return {"write": name, "note_id": write.note_id, "space": write.space, "dimension": len(write.vector)}
    if isinstance(write, DropVector):
        return {"write": name, "note_id": write.note_id}
    size = len(write.record.settled) + len(write.record.tail) if write.appended is None else len(write.appended)
    return {"write": name, "user_id": write.user_id, "bytes": size, "appended": write.appended is not None}


def _print(line: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")


class PrintingStore:
    """A store that says what it would have written."""

    accepts: tuple[type[Any], ...] = (PutNote, PutVector, DropVector, PutProfile)

    def apply(self, writes: Sequence[Any]) -> Applied:
        for write in writes:
            _print(describe(write))
        return Applied()


class PrintingPublisher:
    """A publisher that says what it would have published."""

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        shown = None if key is None else key.decode(errors="replace")
        _print({"write": "Publish", "topic": topic, "key": shown, "bytes": len(value or b"")})

    def flush(self, timeout_s: float = 10.0) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is held."""
