"""What a reader must not get. Filters split candidates into kept and removed, each removal with its reason: nothing just vanishes."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from msgspec import Struct

from recall.stores import Glance, Window
from schemas.canary import CANARY_READER, is_canary

Reason = Literal["unknown", "deleted", "outside_window", "own", "seen", "duplicate", "canary"]
MEANING: dict[Reason, str] = {
    "unknown": "the stores have no record of it",
    "deleted": "it was deleted",
    "outside_window": "it was published outside the time asked for",
    "own": "the reader wrote it",
    "seen": "the reader acted on it before",
    "duplicate": "its text is the same as another note's",
    "canary": "the pipeline published it to measure itself",
}


class Named(Protocol):
    """Anything that stands for a note."""

    @property
    def note_id(self) -> str: ...


N = TypeVar("N", bound=Named)


class Removed(Struct, frozen=True):
    """A note that a filter took out. ``detail``: the other note of a duplicate, the publication time of one outside the window."""

    note_id: str
    reason: Reason
    detail: str = ""


Judge = Callable[[str], Removed | None]


def split(candidates: Sequence[N], judge: Judge) -> tuple[list[N], list[Removed]]:
    """Asks ``judge`` about each candidate in order; every candidate is in exactly one of the two lists, both in the order given."""
    verdicts = [judge(candidate.note_id) for candidate in candidates]
    removed = [verdict for verdict in verdicts if verdict is not None]
    if not removed:
        return list(candidates), removed
    return [candidate for candidate, verdict in zip(candidates, verdicts, strict=True) if verdict is None], removed


def acceptable(records: Mapping[str, Glance], window: Window, user_id: str, acted_on: Collection[str]) -> Callable[[str], bool]:
    """Whether a note passes all of the filters below but ``original``."""
    since = -math.inf if window.since is None else window.since
    until = math.inf if window.until is None else window.until
    canaries = user_id == CANARY_READER
    get = records.get

    def passes(note_id: str) -> bool:
        record = get(note_id)
        return (
            record is not None
            and not record.deleted
            and since <= record.published_at <= until
            and record.author_id != user_id
            and note_id not in acted_on
            and (canaries or not is_canary(note_id))
        )

    return passes


def no_canary(user_id: str) -> Judge:
    """Removes canary notes for everybody but the reader that looks for them."""
    return lambda note_id: Removed(note_id, "canary") if is_canary(note_id) and user_id != CANARY_READER else None


def known(records: Mapping[str, Glance]) -> Judge:
    """Removes notes without a record: an index entry that nothing stands behind."""
    return lambda note_id: None if note_id in records else Removed(note_id, "unknown")


def live(records: Mapping[str, Glance]) -> Judge:
    """Removes deleted notes."""
    return lambda note_id: Removed(note_id, "deleted") if note_id in records and records[note_id].deleted else None


def within(records: Mapping[str, Glance], window: Window) -> Judge:
    """Removes notes whose record says they were published outside the window, whatever the index said."""

    def judge(note_id: str) -> Removed | None:
        record = records.get(note_id)
        if record is None:
            return None
        early = window.since is not None and record.published_at < window.since
        late = window.until is not None and record.published_at > window.until
        return Removed(note_id, "outside_window", str(record.published_at)) if early or late else None

    return judge


def not_own(records: Mapping[str, Glance], user_id: str) -> Judge:
    """Removes the reader's own notes."""
    return lambda note_id: Removed(note_id, "own") if note_id in records and records[note_id].author_id == user_id else None


def unseen(acted_on: Collection[str]) -> Judge:
    """Removes what the reader acted on."""
    return lambda note_id: Removed(note_id, "seen") if note_id in acted_on else None


def original(records: Mapping[str, Glance], acted_on: Mapping[str, str]) -> Judge:
    """Removes reposts: notes with the fingerprint of one judged before (so judge best first) or of one acted on. Notes without text pass.

    Args:
        acted_on: fingerprint -> note_id of notes the reader acted on.
    """
    first = dict(acted_on)

    def judge(note_id: str) -> Removed | None:
        record = records.get(note_id)
        if record is None or not record.fingerprint:
            return None
        other = first.setdefault(record.fingerprint, note_id)
        return None if other == note_id else Removed(note_id, "duplicate", other)

    return judge
