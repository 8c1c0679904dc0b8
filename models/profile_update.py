"""Profile arithmetic, the writing side: events applied to a reader's record. ``models/profile.py`` reads the result. No I/O, no clock.

An event is checked against the record's watermarks and, in the common case, appended to its tail. The tail is settled into the profile
when it is long, and for whoever reads it; that is when repeated event ids are found. A record with actions that wait for tags is settled
at every write.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import xxhash
from msgspec import Struct, field

from models.profile import CODES, Fact, Rules, rules_of, waiting_notes
from models.profile_facts import act, keep_newest
from schemas.events import Interaction
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import PendingAction, Profile, ProfileHead, ProfileRecord

SEEN_EVENTS = 256
HASH_BYTES = 8
SOURCES_KEPT = 16
TAIL_LEAST = 64

GiveUpReason = Literal["note_never_tagged", "too_many_pending"]


class GivenUp(Struct, frozen=True):
    """An action that will never count."""

    action: PendingAction
    reason: GiveUpReason


class Outcome(Struct):
    """What ``apply_actions`` did. ``applied`` events are in the record now, ``skipped`` ones were before, ``resolved``: some that waited
    for tags count now."""

    applied: int = 0
    skipped: int = 0
    resolved: bool = False
    given_up: list[GivenUp] = field(default_factory=list)


Actions = list[Any]
"""One reader's actions from one place, in order: an event, its packed fact, an event, its packed fact, ..."""


class Grouped(Struct, frozen=True):
    """A batch by place (``source/partition``) and reader. ``untagged``: readers with an action on a note without tags. ``ordered``: offsets
    rise within each place, as they do unless something was delivered twice into one batch."""

    places: dict[str, dict[str, Actions]]
    untagged: set[str]
    ordered: bool


_encode = msgspec.msgpack.Encoder().encode
_decode_profile = msgspec.msgpack.Decoder(Profile).decode
_decode_facts = msgspec.msgpack.Decoder(list[Fact]).decode
# A packed fact is a msgpack array: header, code and the mark of a 64-bit integer; occurred_at; the mark of 8 bytes; hash; then the note.
_pack_fact = struct.Struct(">3sQ2s8s").pack
_FACT_HEADS = tuple(bytes((0x94, code, 0xCF)) for code in CODES.values())
_HASH_HEAD = b"\xc4\x08"


def open_profile(record: ProfileRecord, settings: Settings) -> Profile:
    """The profile that a record holds, with all its actions; the record stays as it is."""
    return _settled(record, rules_of(settings))


def waiting_in(record: ProfileRecord) -> set[str]:
    """Notes without tags so far that actions of the reader wait for."""
    return waiting_notes(_decode_profile(record.settled)) if record.head.waiting else set()


def notes_of(batch: Sequence[Received[Interaction]], rules: Rules) -> set[str]:
    """Notes that a batch leaves a trace of."""
    codes = rules.codes
    return {received.event.note_id for received in batch if received.event.action in codes}


def group_actions(batch: Sequence[Received[Interaction]], tags: Mapping[str, bytes], rules: Rules) -> Grouped:
    """Sorts a batch by reader, as packed facts; actions that leave no trace are left out. Whatever needs the events is done in this one
    pass in their own order, as that is how the processor finds them in its cache.

    Args:
        tags: ``pack_tags`` by note, of ``notes_of`` the batch; a missing one is not tagged yet.
    """
    code_of, hash_of = rules.codes.get, xxhash.xxh3_64_digest
    places: dict[str, dict[str, Actions]] = {}
    notes: dict[str, bytes] = {}
    readers: dict[str, Actions] = {}
    actions_of, note_of = readers.get, notes.get
    reached: dict[str, int] = {}
    bare: set[str] = set()
    untagged: set[str] = set()
    source, partition, place, last = "", -1, "", -1
    ordered = True
    for received in batch:
        event = received.event
        code = code_of(event.action)
        if code is None:
            continue
        if received.partition != partition or received.source != source:
            reached[place] = last
            source, partition = received.source, received.partition
            place = f"{source}/{partition}"
            readers, last = places.setdefault(place, {}), reached.get(place, -1)
            actions_of = readers.get
        offset, user_id, note_id = received.offset, event.user_id, event.note_id
        if offset <= last:
            ordered = False
        last = offset
        note = note_of(note_id)
        if note is None:
            note = notes[note_id] = _encode([note_id, tags[note_id]] if note_id in tags else [note_id])
            if note_id not in tags:
                bare.add(note_id)
        if bare and note_id in bare:
            untagged.add(user_id)
        fact = _pack_fact(_FACT_HEADS[code], event.occurred_at, _HASH_HEAD, hash_of(event.event_id.encode())) + note
        actions = actions_of(user_id)
        if actions is None:
            readers[user_id] = [received, fact]
        else:
            actions.append(received)
            actions.append(fact)
    return Grouped(places, untagged, ordered)


def pack_append(head: ProfileHead, place: str, actions: Actions, *, tagged: bool) -> bytes | None:
    """The common case: nothing waits and the tail stays short, so that the rest of the record need not be known. Offsets must rise.

    Args:
        tagged: all notes are known to have tags.

    Returns:
        What goes to the end of the tail, with the head changed in place; nothing (b"") where all was applied before; None, with nothing
        done, where ``apply_actions`` must be called with the whole record.
    """
    if head.waiting:
        return None
    mark = head.applied.get(place, -1)
    if actions[0].offset <= mark:
        return None if actions[-2].offset > mark else b""
    length = head.tail_length + len(actions) // 2
    if length >= head.settle_at or not tagged:
        return None
    _mark(head.applied, place, actions[-2].offset)
    head.tail_length = length
    return b"".join(actions[1::2])


def apply_actions(record: ProfileRecord, place: str, actions: Actions, tags: Mapping[str, bytes], rules: Rules) -> Outcome:
    """Applies one reader's actions to the record in place. The same log gives the same record however it is cut into calls.

    Args:
        tags: ``pack_tags`` by note, of ``waiting_in`` the record; a missing one is not tagged yet.
    """
    events, packed = _fresh(actions, record.head.applied.get(place, -1))
    if events:
        _mark(record.head.applied, place, events[-1].offset)
    facts = _unpacked(len(packed), b"".join(packed))
    if record.head.waiting or any(len(note) < 2 and rules.weights[code] for code, _, _, note in facts):
        outcome = _apply_waiting(record, facts, events, tags, rules)
    else:
        outcome = Outcome()
        _append(record, packed, rules)
    outcome.applied, outcome.skipped = len(events), len(actions) // 2 - len(events)
    return outcome


def _fresh(actions: Actions, mark: int) -> tuple[list[Received[Interaction]], list[bytes]]:
    """Events and packed facts at offsets above the mark and above any before them."""
    events: list[Received[Interaction]] = []
    packed: list[bytes] = []
    for received, fact in zip(actions[::2], actions[1::2], strict=True):
        if received.offset > mark:
            mark = received.offset
            events.append(received)
            packed.append(fact)
    return events, packed


def _mark(applied: dict[str, int], place: str, offset: int) -> None:
    """Records the last offset of a place; beyond the bound the oldest goes, one of a former topic if there is any."""
    if place not in applied and len(applied) >= SOURCES_KEPT:
        source = place.rpartition("/")[0]
        del applied[next((old for old in applied if old.rpartition("/")[0] != source), next(iter(applied)))]
    applied[place] = offset


# --- the tail


def _append(record: ProfileRecord, packed: Sequence[bytes], rules: Rules) -> None:
    """Appends to the tail; whenever it has its full length it is settled, so that where calls are cut makes no difference."""
    head = record.head
    while head.tail_length + len(packed) >= head.settle_at:
        room = head.settle_at - head.tail_length
        record.tail += b"".join(packed[:room])
        head.tail_length += room
        _settle(record, _settled(record, rules))
        packed = packed[room:]
    record.tail += b"".join(packed)
    head.tail_length += len(packed)


def _unpacked(length: int, packed: bytes) -> list[Fact]:
    """Joined packed facts; a header with their number makes them a msgpack array."""
    return _decode_facts(b"\xdd" + length.to_bytes(4, "big") + packed)


def _settled(record: ProfileRecord, rules: Rules) -> Profile:
    """The packed profile with the tail's actions; of those with the same event id the first counts."""
    profile = _decode_profile(record.settled) if record.settled else Profile()
    if record.tail:
        seen = _seen(profile)
        for fact in _unpacked(record.head.tail_length, record.tail):
            if _is_new(fact[2], seen):
                act(profile, fact, rules)
        profile.seen = b"".join(seen)
    return profile


def _settle(record: ProfileRecord, profile: Profile) -> None:
    """Makes a profile the record's; a large one waits for a longer tail, so that packing it costs an event no more than a small one's."""
    record.settled, record.tail = _encode(profile), b""
    head = record.head
    head.waiting, head.tail_length, head.settle_at = len(profile.pending), 0, max(TAIL_LEAST, len(profile.notes) // 2)


def _seen(profile: Profile) -> dict[bytes, None]:
    """Hashes of the last event ids, oldest first."""
    return {profile.seen[at : at + HASH_BYTES]: None for at in range(0, len(profile.seen), HASH_BYTES)}


def _is_new(event_hash: bytes, seen: dict[bytes, None]) -> bool:
    if event_hash in seen:
        return False
    if len(seen) >= SEEN_EVENTS:
        del seen[next(iter(seen))]
    seen[event_hash] = None
    return True


# --- actions that wait for tags


def _apply_waiting(
    record: ProfileRecord, facts: Sequence[Fact], events: Sequence[Received[Interaction]], tags: Mapping[str, bytes], rules: Rules
) -> Outcome:
    """Applies actions one by one to the settled profile; those on a note without tags begin to wait."""
    outcome = Outcome()
    profile = _settled(record, rules)
    if profile.pending:
        outcome.resolved = _resolve(profile, tags, rules)
    seen = _seen(profile)
    for received, fact in zip(events, facts, strict=True):
        code, at, event_hash, note = fact
        if not _is_new(event_hash, seen):
            continue
        if at > profile.newest:
            before = at - rules.pending_ms
            while profile.pending and profile.pending[0].since < before:
                _give_up(profile, seen, "note_never_tagged", outcome)
        if act(profile, fact, rules) and rules.weights[code] and profile.notes[note[0]].tags is None:
            profile.pending.append(_waiting(received, event_hash, profile.newest))
            if len(profile.pending) > rules.max_pending:
                _give_up(profile, seen, "too_many_pending", outcome)
    profile.seen = b"".join(seen)
    _settle(record, profile)
    return outcome


def _waiting(received: Received[Interaction], event_hash: bytes, since: int) -> PendingAction:
    event = received.event
    return PendingAction(
        note_id=event.note_id,
        action=event.action,
        occurred_at=event.occurred_at,
        source=received.source,
        partition=received.partition,
        offset=received.offset,
        raw=received.message.value() or b"",
        event=event_hash,
        since=since,
    )


def _resolve(profile: Profile, tags: Mapping[str, bytes], rules: Rules) -> bool:
    """Gives waiting actions the tags that their notes have by now; True if there were any."""
    waiting = []
    for action in profile.pending:
        packed = tags.get(action.note_id)
        if packed is None:
            waiting.append(action)
            continue
        touched = profile.notes[action.note_id]
        touched.tags = packed
        if len(touched.stamps) > 1:
            keep_newest(touched, rules)
    resolved = len(waiting) < len(profile.pending)
    profile.pending = waiting
    return resolved


def _give_up(profile: Profile, seen: dict[bytes, None], reason: GiveUpReason, outcome: Outcome) -> None:
    """Takes the longest waiting action out of the profile as if it had never come, so that its dead letter can be sent again later."""
    action = profile.pending.pop(0)
    touched = profile.notes[action.note_id]
    if action.action == "like":
        touched.liked_at = None
    elif action.action == "favorite":
        touched.favorited_at = None
    else:
        stamps = list(touched.stamps)
        stamps.remove(action.occurred_at * 8 + CODES[action.action])
        touched.stamps = tuple(stamps)
    outcome.given_up.append(GivenUp(action, reason))
    seen.pop(action.event, None)
