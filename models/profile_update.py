"""Applying events to a reader's record: what the profile consumer does, without I/O or clock. ``models/profile.py`` reads the result."""

from collections.abc import Mapping, Sequence
from typing import Literal

import xxhash
from msgspec import Struct, field

from models.profile import COUNT, LIKE, REPEATED, UNFAVORITE, UNLIKE, Rules, decay, short_hash, unpack_tags, waiting_notes
from schemas.events import Interaction
from schemas.records import Received
from schemas.stored import PendingAction, ProfileRecord, Touched

SEEN_EVENTS = 256
SEEN_BYTES = 8 * SEEN_EVENTS
STAMPS_KEPT = 16
SOURCES_KEPT = 16
FORGOTTEN_KEPT = 20_000
REBASE_HALF_LIVES = 512.0

GiveUpReason = Literal["note_never_tagged", "too_many_pending"]


class GivenUp(Struct, frozen=True):
    """An action that will never count."""

    action: PendingAction
    reason: GiveUpReason


class Outcome(Struct):
    """What ``apply_events`` did. ``applied`` events changed the record, ``skipped`` ones had been applied before,
    ``resolved``: actions that waited count now."""

    applied: int = 0
    skipped: int = 0
    resolved: bool = False
    given_up: list[GivenUp] = field(default_factory=list)


def apply_events(  # noqa: PLR0912, PLR0915 - one flat loop: a call for each event would cost as much as what it does
    record: ProfileRecord, events: Sequence[Received[Interaction]], tags: Mapping[str, bytes], rules: Rules
) -> Outcome:
    """Applies one reader's events, in order, to the record in place. The same log gives the same record however it is cut into calls.

    Args:
        tags: ``pack_tags`` by note, of every note of the events and of ``waiting_notes``; a missing one is not tagged yet.
    """
    outcome = Outcome()
    if record.pending:
        outcome.resolved = _resolve(record, tags, rules)
    kind_of, notes, tags_of, hash_of, max_notes = rules.kinds.get, record.notes, tags.get, xxhash.xxh3_64_digest, rules.max_notes
    seen, actions, newest, pending = record.seen, record.actions, record.newest, record.pending
    source, partition, place, mark = "", -1, "", -1
    applied = skipped = 0
    for received in events:
        event = received.event
        kind = kind_of(event.action)
        if kind is None:
            continue
        if received.partition != partition or received.source != source:
            if mark >= 0:
                _mark(record.applied, place, mark)
            source, partition = received.source, received.partition
            place = f"{source}/{partition}"
            mark = record.applied.get(place, -1)
        offset = received.offset
        if offset <= mark:
            skipped += 1
            continue
        event_hash = hash_of(event.event_id.encode())
        if event_hash in seen:  # whether aligned or not: a match by chance is as rare as one of the hash itself
            skipped += 1
            continue
        seen += event_hash
        if len(seen) > SEEN_BYTES:
            seen = seen[-SEEN_BYTES:]
        mark = offset
        applied += 1
        note_id, at = event.note_id, event.occurred_at
        if at > newest:
            newest = at
            if pending:
                seen = _expire(record, newest - rules.pending_ms, seen, outcome)
        touched = notes.pop(note_id, None)
        if touched is None:
            if len(notes) >= max_notes:
                _forget_oldest(record, rules)
            touched = Touched()
        notes[note_id] = touched
        operation, code, weight = kind
        if operation != COUNT or code:
            touched.acted = True
            actions += 1
        if operation == COUNT:
            if not weight:
                continue
        elif operation == UNLIKE or operation == UNFAVORITE:  # noqa: SIM109, PLR1714 - twice as fast as building a tuple of globals
            _undo(record, note_id, touched, operation)
            continue
        elif (touched.liked_at if operation == LIKE else touched.favorited_at) is not None:
            continue
        packed = tags_of(note_id)
        if packed is not None and touched.tags is not packed:
            if touched.tags is not None and touched.tags != packed:
                _retag(record, touched, rules)
            touched.tags = packed
        if operation == COUNT:
            stamps = touched.stamps
            touched.stamps = (*stamps, at * 8 + code)
            if stamps:
                _keep_newest(touched, rules)
        elif operation == LIKE:
            touched.liked_at = at
        else:
            touched.favorited_at = at
        if touched.tags is None and weight:
            raw = received.message.value() or b""
            pending.append(PendingAction(note_id, event.action, at, source, partition, offset, raw, event_hash, newest))
            if len(pending) > rules.max_pending:
                seen = _give_up(record, "too_many_pending", seen, outcome)
    if mark >= 0:
        _mark(record.applied, place, mark)
    record.seen, record.actions, record.newest = seen, actions, newest
    outcome.applied, outcome.skipped = applied, skipped
    return outcome


def _mark(applied: dict[str, int], place: str, offset: int) -> None:
    """Records the last offset of a place; of places long out of use the oldest goes."""
    if place not in applied and len(applied) >= SOURCES_KEPT:
        del applied[next(iter(applied))]
    applied[place] = offset


def _undo(record: ProfileRecord, note_id: str, touched: Touched, operation: int) -> None:
    """Takes back a like or a favorite, waiting or not; without one nothing changes."""
    if operation == UNLIKE:
        undone = "like"
        touched.liked_at = touched.like_tags = None
    else:
        undone = "favorite"
        touched.favorited_at = touched.favorite_tags = None
    if touched.liked_at is None and touched.favorited_at is None and not touched.stamps:
        touched.tags = None
    if record.pending:
        record.pending[:] = [one for one in record.pending if one.note_id != note_id or one.action != undone]


def _keep_newest(touched: Touched, rules: Rules) -> None:
    """Brings the stamps into time order and folds the oldest ones beyond the limit; while the note has no tags all are kept."""
    stamps = touched.stamps
    if stamps[-1] < stamps[-2]:
        stamps = touched.stamps = tuple(sorted(stamps))
    if touched.tags is None or len(stamps) <= STAMPS_KEPT:
        return
    for stamp in stamps[:-STAMPS_KEPT]:
        at, weight = stamp >> 3, rules.repeated[stamp & 7]
        if at >= touched.folded_at:
            touched.folded = touched.folded * decay(at - touched.folded_at, rules.half_life_ms) + weight
            touched.folded_at = at
        else:
            touched.folded += weight * decay(touched.folded_at - at, rules.half_life_ms)
    touched.stamps = stamps[-STAMPS_KEPT:]


def _resolve(record: ProfileRecord, tags: Mapping[str, bytes], rules: Rules) -> bool:
    """Gives waiting actions the tags that their notes have by now; True if there were any."""
    waiting = []
    for action in record.pending:
        packed = tags.get(action.note_id)
        if packed is None:
            waiting.append(action)
            continue
        touched = record.notes[action.note_id]
        touched.tags = packed
        if len(touched.stamps) > 1:
            _keep_newest(touched, rules)
    resolved = len(waiting) < len(record.pending)
    record.pending[:] = waiting
    return resolved


def _expire(record: ProfileRecord, before: float, seen: bytes, outcome: Outcome) -> bytes:
    """Gives up actions that have waited since before that time; returns ``seen`` without them."""
    while record.pending and record.pending[0].since < before:
        seen = _give_up(record, "note_never_tagged", seen, outcome)
    return seen


def _give_up(record: ProfileRecord, reason: GiveUpReason, seen: bytes, outcome: Outcome) -> bytes:
    """Takes the longest waiting action out of the record as if it had never come, so that its dead letter can be sent again later."""
    action = record.pending.pop(0)
    touched = record.notes[action.note_id]
    if action.action == "like":
        touched.liked_at = None
    elif action.action == "favorite":
        touched.favorited_at = None
    else:
        stamps = list(touched.stamps)
        stamps.remove(action.occurred_at * 8 + REPEATED.index(action.action))
        touched.stamps = tuple(stamps)
    outcome.given_up.append(GivenUp(action, reason))
    at = seen.find(action.event)
    return seen if at < 0 else seen[:at] + seen[at + len(action.event) :]


def _retag(record: ProfileRecord, touched: Touched, rules: Rules) -> None:
    """The note has other tags now: what counted until here goes on counting for the former ones."""
    former = touched.tags
    assert former is not None
    _leave(record, former, _sums(touched, rules), rules)
    touched.stamps, touched.folded, touched.folded_at = (), 0.0, 0
    if touched.liked_at is not None and touched.like_tags is None:
        touched.like_tags = former
    if touched.favorited_at is not None and touched.favorite_tags is None:
        touched.favorite_tags = former


def _forget_oldest(record: ProfileRecord, rules: Rules) -> None:
    """Drops the least recently touched note that no action waits for; its score stays in the residue."""
    waiting = waiting_notes(record) if record.pending else ()
    note_id = next((note_id for note_id in record.notes if note_id not in waiting), None)
    if note_id is None:
        return
    touched = record.notes.pop(note_id)
    if touched.acted:
        record.forgotten_notes += 1
        record.forgotten = (record.forgotten + short_hash(note_id))[-4 * FORGOTTEN_KEPT :]
    if touched.tags is None:
        return
    _leave(record, touched.tags, _sums(touched, rules), rules)
    if touched.liked_at is not None:
        _leave(record, touched.like_tags or touched.tags, [(touched.liked_at, rules.like)], rules)
    if touched.favorited_at is not None:
        _leave(record, touched.favorite_tags or touched.tags, [(touched.favorited_at, rules.favorite)], rules)


def _sums(touched: Touched, rules: Rules) -> list[tuple[int, float]]:
    """Time and weight of what repeated actions add."""
    sums = [(stamp >> 3, rules.repeated[stamp & 7]) for stamp in touched.stamps]
    return [(touched.folded_at, touched.folded), *sums] if touched.folded else sums


def _leave(record: ProfileRecord, packed: bytes, sums: Sequence[tuple[int, float]], rules: Rules) -> None:
    """Adds to the residue, in forward-decayed units; the landmark moves before they can overflow."""
    texts = unpack_tags(packed)
    if not sums or not texts:
        return
    residue, half_life = record.residue, rules.half_life_ms
    for at, weight in sums:
        if not residue:
            record.landmark = record.residue_at = at
        record.residue_at = max(record.residue_at, at)
        if half_life and at - record.landmark > REBASE_HALF_LIVES * half_life:
            shrink = decay(at - record.landmark, half_life)
            for text in residue:
                residue[text] *= shrink
            record.landmark = at
        units = weight * 2.0 ** ((at - record.landmark) / half_life) if half_life else weight
        for text in texts:
            residue[text] = residue.get(text, 0.0) + units
    if rules.max_tags and len(residue) > 2 * rules.max_tags:
        best = sorted(residue.items(), key=lambda item: (-item[1], item[0]))[: rules.max_tags]
        residue.clear()
        residue.update(best)
