"""What one action does to a profile, and what becomes of facts that leave a profile's bounds. No I/O, no clock.

An action that is given up leaves the profile as if it had never come, but for its place in ``Profile.given_up``. Its record may be sent
again from the dead letters, once or more, and a replay reads the original and every copy. So a copy counts only where the profile says that
the action was given up, and then as if it had been there all the time: an undo since then cancels it, a like since then gives way to it.
"""

from collections.abc import Sequence

import xxhash

from models.profile import CODES, FAVORITE, LIKE, UNFAVORITE, UNLIKE, Fact, Rules, decay, short_hash, unpack_tags, waiting_notes
from schemas.stored import PendingAction, Profile, Touched

STAMPS_KEPT = 16
FORGOTTEN_KEPT = 20_000
GIVEN_UP_KEPT = 4_096
REBASE_HALF_LIVES = 512.0


def act(profile: Profile, fact: Fact, rules: Rules) -> bool:
    """Applies an action to the profile; True if it added something to its note."""
    code, at, _, note = fact
    note_id, packed = note[0], note[1] if len(note) > 1 else None
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


def give_up(profile: Profile) -> PendingAction:
    """Takes the longest waiting action out of the profile and remembers that it did not count."""
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
    profile.given_up[action.event] = _undone_by(action.note_id, action.action)
    if len(profile.given_up) > GIVEN_UP_KEPT:
        del profile.given_up[next(iter(profile.given_up))]
    return action


def restore(profile: Profile, fact: Fact, rules: Rules) -> bool:
    """Applies an action that was given up, at the place that it had among the others; True if it added something to its note."""
    code, _, event_hash, note = fact
    note_id, order = note[0], list(profile.notes)
    touched = profile.notes.get(note_id)
    if code in (LIKE, FAVORITE):
        _make_way(profile, note_id, touched, code, event_hash)
    profile.given_up.pop(event_hash, None)
    added = act(profile, fact, rules)
    profile.actions -= 1  # it was counted when it came
    if touched is not None:
        profile.notes = {one: profile.notes[one] for one in order}
    return added


def _make_way(profile: Profile, note_id: str, touched: Touched | None, code: int, event_hash: bytes) -> None:
    """Takes out what came later than a like (or favorite) that was given up, and would have added nothing had it stood."""
    action = "like" if code == LIKE else "favorite"
    if touched is not None and code == LIKE:
        touched.liked_at = touched.like_tags = None
    elif touched is not None:
        touched.favorited_at = touched.favorite_tags = None
    _stop_waiting(profile, note_id, action)
    same = _undone_by(note_id, action)
    order = list(profile.given_up)
    for event in order[order.index(event_hash) + 1 :] if event_hash in order else ():
        if profile.given_up[event] == same:
            del profile.given_up[event]


def _undone_by(note_id: str, action: str) -> bytes:
    return xxhash.xxh3_64_digest(f"{action} {note_id}".encode())


def _stop_waiting(profile: Profile, note_id: str, action: str) -> None:
    if profile.pending:
        profile.pending = [one for one in profile.pending if one.note_id != note_id or one.action != action]


def _add(touched: Touched, code: int, at: int, rules: Rules) -> None:
    if code == LIKE:
        touched.liked_at = at
    elif code == FAVORITE:
        touched.favorited_at = at
    else:
        touched.stamps = (*touched.stamps, at * 8 + code)
        if len(touched.stamps) > 1:
            keep_newest(touched, rules)


def _undo(profile: Profile, note_id: str, touched: Touched, code: int) -> None:
    """Takes back a like or a favorite, waiting, given up or neither; without one nothing changes."""
    if code == UNLIKE:
        undone = "like"
        touched.liked_at = touched.like_tags = None
    else:
        assert code == UNFAVORITE
        undone = "favorite"
        touched.favorited_at = touched.favorite_tags = None
    if touched.liked_at is None and touched.favorited_at is None and not touched.stamps:
        touched.tags = None
    _stop_waiting(profile, note_id, undone)
    if profile.given_up:
        cancelled = _undone_by(note_id, undone)
        profile.given_up = {event: by for event, by in profile.given_up.items() if by != cancelled}


def keep_newest(touched: Touched, rules: Rules) -> None:
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
