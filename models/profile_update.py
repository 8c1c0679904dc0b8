"""Profile arithmetic, the writing side: events applied to a reader's record. ``models/profile.py`` reads the result. No I/O, no clock.

An event is checked against the record's watermarks and, in the common case, appended to its tail. The tail is settled into the profile
when it is long, and for whoever reads it; that is when repeated event ids are found. A record with actions that wait for tags is settled
at every write.
"""

from collections.abc import Mapping, Sequence, Set

import msgspec
from msgspec import Struct, field

from models.profile import CODES, Fact, GiveUpReason, Rules, rules_of, waiting_notes
from models.profile_batch import HASH_BYTES, Actions, Original, pack_facts
from models.profile_facts import act, give_up, keep_newest, restore
from schemas.settings import Settings
from schemas.stored import PendingAction, Profile, ProfileHead, ProfileRecord

SEEN_EVENTS = 256
SOURCES_KEPT = 16
TAIL_LEAST = 64
ACTIONS = {code: action for action, code in CODES.items()}


class Known(Struct, frozen=True):
    """What is known while a batch is applied: ``pack_tags`` and ``pack_notes`` by note, originals by place and offset. A note without tags
    is missing from ``tags``; the originals hold at least the actions on such notes. ``redriven``: place and offset of actions that were
    given up before and sent again."""

    tags: Mapping[str, bytes]
    notes: Mapping[str, bytes]
    originals: Mapping[tuple[str, int], Original]
    redriven: Set[tuple[str, int]] = frozenset()


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


_encode = msgspec.msgpack.Encoder().encode
_decode_profile = msgspec.msgpack.Decoder(Profile).decode
_decode_facts = msgspec.msgpack.Decoder(list[Fact]).decode


def open_profile(record: ProfileRecord, settings: Settings) -> Profile:
    """The profile that a record holds, with all its actions; the record stays as it is."""
    return _settled(record, rules_of(settings))


def waiting_in(record: ProfileRecord) -> set[str]:
    """Notes without tags so far that actions of the reader wait for."""
    return waiting_notes(_decode_profile(record.settled)) if record.head.waiting else set()


def pack_append(head: ProfileHead, place: str, actions: Actions, notes: Mapping[str, bytes], bare: Set[str] = frozenset()) -> bytes | None:
    """The common case: nothing waits and the tail stays short, so that the rest of the record need not be known. Offsets must rise, and
    none of the actions is one sent again.

    Args:
        notes: ``pack_notes`` of the actions' notes.
        bare: those of them without tags.

    Returns:
        What goes to the end of the tail, with the head changed in place; nothing (b"") where all was applied before; None, with nothing
        done, where ``apply_actions`` must be called with the whole record.
    """
    if head.waiting:
        return None
    mark = head.applied.get(place, -1)
    if actions[0] <= mark:
        return None if actions[-3] > mark else b""
    length = head.tail_length + len(actions) // 3
    if length >= head.settle_at or (bare and not bare.isdisjoint(actions[2::3])):
        return None
    _mark(head.applied, place, actions[-3])
    head.tail_length = length
    return b"".join(pack_facts(actions, notes))


def apply_actions(record: ProfileRecord, place: str, actions: Actions, known: Known, rules: Rules) -> Outcome:
    """Applies one reader's actions to the record in place. The same log gives the same record however it is cut into calls.

    Args:
        known: of the notes of the actions and of ``waiting_in`` the record.
    """
    offsets, packed = _fresh(actions, record.head.applied.get(place, -1), known.notes)
    if offsets:
        _mark(record.head.applied, place, offsets[-1])
    facts = _unpacked(len(packed), b"".join(packed))
    bare = any(len(note) < 2 and rules.weights[code] for code, _, _, note in facts)
    if record.head.waiting or bare or (known.redriven and any((place, offset) in known.redriven for offset in offsets)):
        outcome = _apply_one_by_one(record, place, list(zip(offsets, facts, strict=True)), known, rules)
    else:
        outcome = Outcome()
        _append(record, packed, rules)
    outcome.applied, outcome.skipped = len(offsets), len(actions) // 3 - len(offsets)
    return outcome


def _fresh(actions: Actions, mark: int, notes: Mapping[str, bytes]) -> tuple[list[int], list[bytes]]:
    """Offsets and packed facts at offsets above the mark and above any before them."""
    offsets: list[int] = []
    packed: list[bytes] = []
    pieces = iter(pack_facts(actions, notes))
    for offset, head, note in zip(actions[::3], pieces, pieces, strict=True):
        if offset > mark:
            mark = offset
            offsets.append(offset)
            packed.append(head + note)
    return offsets, packed


def _mark(applied: dict[str, int], place: str, offset: int) -> None:
    """Records the last offset of a place; beyond the bound the oldest goes, one of a former topic if there is any."""
    if place not in applied and len(applied) >= SOURCES_KEPT:
        source = place.rpartition("/")[0]
        del applied[next((old for old in applied if old.rpartition("/")[0] != source), next(iter(applied)))]
    applied[place] = offset


class Walk:
    """A reader's profile action by action: what opening the record after each would show. The record itself stays as it is.

    ``seen``: hashes of the event ids that count, of the last 256.
    """

    def __init__(self, record: ProfileRecord, known: Known, rules: Rules) -> None:
        self.profile = _settled(record, rules)
        self.seen = _seen(self.profile)
        self.known = known
        self.outcome = Outcome()
        self._rules = rules
        if self.profile.pending:
            self.outcome.resolved = _resolve(self.profile, known.tags, rules)

    def step(self, place: str, offset: int, head: bytes, note: str) -> None:
        """Applies one of ``Actions``."""
        self.take(place, offset, _unpacked(1, head + self.known.notes[note])[0])

    def take(self, place: str, offset: int, fact: Fact) -> None:
        """Applies one action; one that counts already changes nothing, nor does one sent again that was not given up."""
        profile, rules = self.profile, self._rules
        code, at, event_hash, note = fact
        given_up = event_hash in profile.given_up
        if not given_up and (place, offset) in self.known.redriven:
            return
        if not _is_new(event_hash, self.seen):
            return
        if at > profile.newest:
            before = at - rules.pending_ms
            while profile.pending and profile.pending[0].since < before:
                self._give_up("note_never_tagged")
        added = (restore if given_up else act)(profile, fact, rules)
        if added and rules.weights[code] and profile.notes[note[0]].tags is None:
            profile.pending.append(_waiting(place, offset, fact, self.known, profile.newest))
            if len(profile.pending) > rules.max_pending:
                self._give_up("too_many_pending")

    def _give_up(self, reason: GiveUpReason) -> None:
        action = give_up(self.profile)
        self.seen.pop(action.event, None)
        self.outcome.given_up.append(GivenUp(action, reason))


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
                (restore if fact[2] in profile.given_up else act)(profile, fact, rules)
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


def _apply_one_by_one(record: ProfileRecord, place: str, facts: Sequence[tuple[int, Fact]], known: Known, rules: Rules) -> Outcome:
    """Applies actions, each with its offset, to the settled profile; those on a note without tags begin to wait."""
    walk = Walk(record, known, rules)
    for offset, fact in facts:
        walk.take(place, offset, fact)
    walk.profile.seen = b"".join(walk.seen)
    _settle(record, walk.profile)
    return walk.outcome


def _waiting(place: str, offset: int, fact: Fact, known: Known, since: int) -> PendingAction:
    code, at, event_hash, note = fact
    source, _, partition = place.rpartition("/")
    original = known.originals.get((place, offset))
    if original is None:
        raise RuntimeError(f"the record of note {note[0]!r} is gone from the store; the job must start again to read its actions anew")
    return PendingAction(note[0], ACTIONS[code], at, source, int(partition), offset, original.raw, event_hash, since, original.headers)


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
