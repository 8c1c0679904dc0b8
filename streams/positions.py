"""Where to start reading a partition, and what to say when records are missing there."""

from typing import Literal

from msgspec import Struct

Why = Literal["new", "committed", "recreated", "retention", "truncated"]


class Start(Struct, frozen=True):
    """First offset to read, why there, and how many records were missed on the way (0 where that cannot be known)."""

    offset: int
    why: Why
    missed: int = 0


def start_at(low: int, end: int, committed: int | None, committed_topic: str, topic: str) -> Start:
    """Decides where to read on.

    Args:
        low: first offset that is still there.
        end: offset of the next record to be produced.
        committed: next offset that the group committed; None where it never did.
        committed_topic: the topic id found in the commit's metadata; empty where another tool committed.
        topic: the topic id now. An offset of another topic id means nothing here, even if it is within range.
    """
    if committed is None:
        return Start(low, "new")
    if committed_topic and committed_topic != topic:
        return Start(low, "recreated")
    if committed > end:
        return Start(low, "truncated")
    if committed < low:
        return Start(low, "retention", low - committed)
    return Start(committed, "committed")
