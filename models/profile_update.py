"""Profile arithmetic, the writing side: events applied to a reader's record. ``models/profile.py`` reads the result. No I/O, no clock.

An event is checked against the record's watermarks and event ids and, in the common case, appended to its tail. The tail is settled into
the profile when it is long, and for whoever reads it. A record with actions that wait for tags is settled at every write.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec
import xxhash
from msgspec import Struct, field

from models.profile import CODES, FAVORITE, LIKE, UNFAVORITE, UNLIKE, Fact, Rules, decay, rules_of, short_hash, unpack_tags, waiting_notes
from schemas.events import Interaction
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import PendingAction, Profile, ProfileRecord, Touched

SEEN_EVENTS = 256
SEEN_BYTES = 8 * SEEN_EVENTS
STAMPS_KEPT = 16
SOURCES_KEPT = 16
FORGOTTEN_KEPT = 20_000
TAIL_LEAST = 64
REBASE_HALF_LIVES = 512.0

GiveUpReason = Literal["note_never_tagged", "too_many_pending"]


class GivenUp(Struct, frozen=True):
    """An action that will never count."""

    action: PendingAction
    reason: GiveUpReason


class Outcome(Struct):
    """What ``apply_steps`` did. ``applied`` events changed the record, ``skipped`` ones had been applied before,
    ``resolved``: actions that waited count now."""

    applied: int = 0
    skipped: int = 0
    resolved: bool = False
    given_up: list[GivenUp] = field(default_factory=list)


Step = tuple[str, int, bytes, str, int, int, Received[Interaction]]
"""What an event asks of a record: place (source/partition), offset, hash of its id, note_id, code, occurred_at; and where it came from."""

_encode = msgspec.msgpack.Encoder().encode
_decode_profile = msgspec.msgpack.Decoder(Profile).decode
_decode_facts = msgspec.msgpack.Decoder(list[Fact]).decode


def open_profile(record: ProfileRecord, settings: Settings) -> Profile:
    """The profile that a record holds, with all its actions; the record stays as it is."""
    return _settled(record, rules_of(settings))


def waiting_in(record: ProfileRecord) -> set[str]:
    """Notes without tags so far that actions of the reader wait for; ``apply_steps`` wants their tags too."""
    return waiting_notes(_decode_profile(record.settled)) if record.waiting else set()


def steps_by_reader(batch: Sequence[Received[Interaction]], rules: Rules) -> tuple[dict[str, list[Step]], Collection[str]]:
    """What a batch asks of each reader's record, in the order of the batch, and the notes it is about; actions without trace are left out.

    All that needs the events is done in this one pass in their own order, since it finds them in the processor's cache.
    """
    code_of, hash_of = rules.codes.get, xxhash.xxh3_64_digest
    readers: dict[str, list[Step]] = {}
    notes: dict[str, str] = {}
    steps_of, first_seen = readers.get, notes.setdefault
    source, partition, place = "", -1, ""
    for received in batch:
        event = received.event
        code = code_of(event.action)
        if code is None:
            continue
        if received.partition != partition or received.source != source:
            source, partition = received.source, received.partition
            place = f"{source}/{partition}"
        user_id, note_id = event.user_id, event.note_id
        note_id = first_seen(note_id, note_id)
        step = (place, received.offset, hash_of(event.event_id.encode()), note_id, code, event.occurred_at, received)
        steps = steps_of(user_id)
        if steps is None:
            readers[user_id] = [step]
        else:
            steps.append(step)
    return readers, notes.keys()


def apply_steps(record: ProfileRecord, steps: Sequence[Step], tags: Mapping[str, bytes], rules: Rules) -> Outcome:
    """Applies one reader's steps, in order, to the record in place. The same log gives the same record however it is cut into calls.

    Args:
        tags: ``pack_tags`` by note, of every note of the steps and of ``waiting_in``; a missing one is not tagged yet.
    """
    weights, tags_of, seen, applied = rules.weights, tags.get, record.seen, record.applied
    place, mark = "", -1
    fresh: list[Step] = []
    facts: list[Fact] = []
    complete = not record.waiting
    for step in steps:
        where, offset, event_hash, note_id, code, at, _ = step
        if where is not place:
            if mark >= 0:
                _mark(applied, place, mark)
            place, mark = where, applied.get(where, -1)
        if offset <= mark or event_hash in seen:  # aligned or not: a match by chance is as rare as one of the hash itself
            continue
        mark = offset
        seen += event_hash
        if len(seen) > SEEN_BYTES:
            seen = seen[-SEEN_BYTES:]
        packed = None
        if weights[code]:
            packed = tags_of(note_id)
            if packed is None:
                complete = False
        fresh.append(step)
        facts.append((note_id, code, at, packed))
    if mark >= 0:
        _mark(applied, place, mark)
    record.seen = seen
    if complete:
        _append(record, facts, rules)
        outcome = Outcome()
    else:
        outcome = _apply_waiting(record, fresh, facts, tags, rules)
    outcome.applied, outcome.skipped = len(facts), len(steps) - len(facts)
    return outcome


def _mark(applied: dict[str, int], place: str, offset: int) -> None:
    """Records the last offset of a place; of places long out of use the oldest goes."""
    if place not in applied and len(applied) >= SOURCES_KEPT:
        del applied[next(iter(applied))]
    applied[place] = offset


# --- the tail


def _append(record: ProfileRecord, facts: Sequence[Fact], rules: Rules) -> None:
    """Appends to the tail; whenever it has its full length it is settled, so that where calls are cut makes no difference."""
    while record.tail_length + len(facts) >= record.settle_at:
        room = record.settle_at - record.tail_length
        profile = _settled(record, rules)
        for fact in facts[:room]:
            _act(profile, fact, rules)
        _settle(record, profile)
        facts = facts[room:]
    if facts:
        record.tail += _packed(facts)
        record.tail_length += len(facts)


def _settled(record: ProfileRecord, rules: Rules) -> Profile:
    profile = _decode_profile(record.settled) if record.settled else Profile()
    if record.tail:
        for fact in _decode_facts(b"\xdd" + record.tail_length.to_bytes(4, "big") + record.tail):
            _act(profile, fact, rules)
    return profile


def _settle(record: ProfileRecord, profile: Profile) -> None:
    """Makes a profile the record's; a large one waits for a longer tail, so that packing it costs an event no more than a small one's."""
    record.settled, record.tail, record.tail_length = _encode(profile), b"", 0
    record.waiting = len(profile.pending)
    record.settle_at = max(TAIL_LEAST, len(profile.notes) // 2)


def _packed(facts: Sequence[Fact]) -> bytes:
    """Facts as msgpack without the array's header, so that packed facts can be joined."""
    packed = _encode(facts)
    return packed[1 if len(facts) < 16 else 3 if len(facts) < 65_536 else 5 :]


# --- actions that wait for tags


def _apply_waiting(record: ProfileRecord, steps: Sequence[Step], facts: Sequence[Fact], tags: Mapping[str, bytes], rules: Rules) -> Outcome:
    """Applies steps one by one to the settled profile; those on a note without tags begin to wait."""
    outcome = Outcome()
    profile = _settled(record, rules)
    if profile.pending:
        outcome.resolved = _resolve(profile, tags, rules)
    for step, fact in zip(steps, facts, strict=True):
        note_id, code, at, _ = fact
        if at > profile.newest:
            _expire(record, profile, at - rules.pending_ms, outcome)
        if _act(profile, fact, rules) and rules.weights[code] and profile.notes[note_id].tags is None:
            profile.pending.append(_waiting(step, profile.newest))
            if len(profile.pending) > rules.max_pending:
                _give_up(record, profile, "too_many_pending", outcome)
    _settle(record, profile)
    return outcome


def _waiting(step: Step, since: int) -> PendingAction:
    received = step[-1]
    event = received.event
    return PendingAction(
        note_id=event.note_id,
        action=event.action,
        occurred_at=event.occurred_at,
        source=received.source,
        partition=received.partition,
        offset=received.offset,
        raw=received.message.value() or b"",
        event=step[2],
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
            _keep_newest(touched, rules)
    resolved = len(waiting) < len(profile.pending)
    profile.pending = waiting
    return resolved


def _expire(record: ProfileRecord, profile: Profile, before: float, outcome: Outcome) -> None:
    """Gives up actions that have waited since before that time."""
    while profile.pending and profile.pending[0].since < before:
        _give_up(record, profile, "note_never_tagged", outcome)


def _give_up(record: ProfileRecord, profile: Profile, reason: GiveUpReason, outcome: Outcome) -> None:
    """Takes the longest waiting action out of the record as if it had never come, so that its dead letter can be sent again later."""
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
    record.seen = record.seen.replace(action.event, b"")


# --- one action


def _act(profile: Profile, fact: Fact, rules: Rules) -> bool:
    """Applies an action to the profile; True if it added something to its note."""
    note_id, code, at, packed = fact
    profile.newest = max(profile.newest, at)
    notes = profile.notes
    touched = notes.pop(note_id, None)
    if touched is None:
        if len(notes) >= rules.max_notes:
            _forget_oldest(profile, rules)
        touched = Touched()
    notes[note_id] = touched
    if code:
        touched.acted = True
        profile.actions += 1
    if code >= UNLIKE:
        _undo(profile, note_id, touched, code)
        return False
    if not rules.weights[code] if code < LIKE else (touched.liked_at if code == LIKE else touched.favorited_at) is not None:
        return False
    if packed is not None and touched.tags != packed:
        _retag(profile, touched, packed, rules)
    _add(touched, code, at, rules)
    return True


def _add(touched: Touched, code: int, at: int, rules: Rules) -> None:
    if code == LIKE:
        touched.liked_at = at
    elif code == FAVORITE:
        touched.favorited_at = at
    else:
        touched.stamps = (*touched.stamps, at * 8 + code)
        if len(touched.stamps) > 1:
            _keep_newest(touched, rules)


def _undo(profile: Profile, note_id: str, touched: Touched, code: int) -> None:
    """Takes back a like or a favorite, waiting or not; without one nothing changes."""
    if code == UNLIKE:
        undone = "like"
        touched.liked_at = touched.like_tags = None
    else:
        assert code == UNFAVORITE
        undone = "favorite"
        touched.favorited_at = touched.favorite_tags = None
    if touched.liked_at is None and touched.favorited_at is None and not touched.stamps:
        touched.tags = None
    if profile.pending:
        profile.pending = [one for one in profile.pending if one.note_id != note_id or one.action != undone]


def _keep_newest(touched: Touched, rules: Rules) -> None:
    """Brings the stamps into time order and folds the oldest ones beyond the limit; while the note has no tags all are kept."""
    stamps = touched.stamps
    if stamps[-1] < stamps[-2]:
        stamps = touched.stamps = tuple(sorted(stamps))
    if touched.tags is None or len(stamps) <= STAMPS_KEPT:
        return
    for stamp in stamps[:-STAMPS_KEPT]:
        at, weight = stamp >> 3, rules.weights[stamp & 7]
        if at >= touched.folded_at:
            touched.folded = touched.folded * decay(at - touched.folded_at, rules.half_life_ms) + weight
            touched.folded_at = at
        else:
            touched.folded += weight * decay(touched.folded_at - at, rules.half_life_ms)
    touched.stamps = stamps[-STAMPS_KEPT:]


# --- what leaves the bounds


def _retag(profile: Profile, touched: Touched, packed: bytes, rules: Rules) -> None:
    """Gives a note its tags; what counted for other ones until here goes on counting for those."""
    former, touched.tags = touched.tags, packed
    if former is None:
        return
    _leave(profile, former, _sums(touched, rules), rules)
    touched.stamps, touched.folded, touched.folded_at = (), 0.0, 0
    if touched.liked_at is not None and touched.like_tags is None:
        touched.like_tags = former
    if touched.favorited_at is not None and touched.favorite_tags is None:
        touched.favorite_tags = former


def _forget_oldest(profile: Profile, rules: Rules) -> None:
    """Drops the least recently touched note that no action waits for; its score stays in the residue."""
    waiting = waiting_notes(profile) if profile.pending else ()
    note_id = next((note_id for note_id in profile.notes if note_id not in waiting), None)
    if note_id is None:
        return
    touched = profile.notes.pop(note_id)
    if touched.acted:
        profile.forgotten_notes += 1
        profile.forgotten = (profile.forgotten + short_hash(note_id))[-4 * FORGOTTEN_KEPT :]
    if touched.tags is None:
        return
    _leave(profile, touched.tags, _sums(touched, rules), rules)
    if touched.liked_at is not None:
        _leave(profile, touched.like_tags or touched.tags, [(touched.liked_at, rules.weights[LIKE])], rules)
    if touched.favorited_at is not None:
        _leave(profile, touched.favorite_tags or touched.tags, [(touched.favorited_at, rules.weights[FAVORITE])], rules)


def _sums(touched: Touched, rules: Rules) -> list[tuple[int, float]]:
    """Time and weight of what repeated actions add."""
    sums = [(stamp >> 3, rules.weights[stamp & 7]) for stamp in touched.stamps]
    return [(touched.folded_at, touched.folded), *sums] if touched.folded else sums


def _leave(profile: Profile, packed: bytes, sums: Sequence[tuple[int, float]], rules: Rules) -> None:
    """Adds to the residue, in forward-decayed units; the landmark moves before they can overflow."""
    texts = unpack_tags(packed)
    if not sums or not texts:
        return
    residue, half_life = profile.residue, rules.half_life_ms
    for at, weight in sums:
        if not residue:
            profile.landmark = profile.residue_at = at
        profile.residue_at = max(profile.residue_at, at)
        if half_life and at - profile.landmark > REBASE_HALF_LIVES * half_life:
            shrink = decay(at - profile.landmark, half_life)
            for text in residue:
                residue[text] *= shrink
            profile.landmark = at
        units = weight * 2.0 ** ((at - profile.landmark) / half_life) if half_life else weight
        for text in texts:
            residue[text] = residue.get(text, 0.0) + units
    if rules.max_tags and len(residue) > 2 * rules.max_tags:
        best = sorted(residue.items(), key=lambda item: (-item[1], item[0]))[: rules.max_tags]
        residue.clear()
        residue.update(best)
