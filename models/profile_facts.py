"""What one action does to a profile, and what becomes of facts that leave a profile's bounds. No I/O, no clock."""

from collections.abc import Sequence

from models.profile import FAVORITE, LIKE, UNFAVORITE, UNLIKE, Fact, Rules, decay, short_hash, unpack_tags, waiting_notes
from schemas.stored import Profile, Touched

STAMPS_KEPT = 16
FORGOTTEN_KEPT = 20_000
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
