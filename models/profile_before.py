"""A reader as known just before an event: nothing of the event itself, nothing that happened later. No I/O, no clock.

A profile walked up to an event (``profile_update.Walk``) holds what came before it in its partition. Events may come late, so some of that
may have happened after it: such actions are left out here. Of the event's own note only what is strictly older counts.
"""

from typing import NamedTuple

from msgspec.structs import replace

from models.profile import FAVORITE, LIKE, SCORE_MIN, Rules, decay
from schemas.stored import Profile, Touched


class HistoryNote(NamedTuple):
    """A note of a reader's history: what the actions on it weigh at the moment asked about, and when the newest of them was."""

    note_id: str
    weight: float
    at: int


def profile_before(profile: Profile, note_id: str, at: int) -> Profile:
    """The profile without actions later than ``at`` (epoch ms), and on ``note_id`` without those at ``at``; itself where there are none.

    A sum of actions that left the record cannot be divided: it counts only where its newest part is not too late.
    """
    if profile.newest < at:
        return profile
    notes = {note: _until(touched, at - 1 if note == note_id else at) for note, touched in profile.notes.items()}
    return replace(profile, notes=notes, residue=profile.residue if profile.residue_at <= at else {})


def history_before(profile: Profile, at: int, rules: Rules, notes_max: int) -> list[HistoryNote]:
    """What ``models.profile.history_at`` gives for a ``profile_before``, with the times and without the tags."""
    half_life, weights = rules.half_life_ms, rules.weights
    history: list[HistoryNote] = []
    for note_id in reversed(profile.notes):
        touched = profile.notes[note_id]
        weight, newest = 0.0, 0
        if touched.folded:
            weight, newest = touched.folded * decay(at - touched.folded_at, half_life), touched.folded_at
        for stamp in touched.stamps:
            weight += weights[stamp & 7] * decay(at - (stamp >> 3), half_life)
            newest = max(newest, stamp >> 3)
        if touched.liked_at is not None:
            weight += weights[LIKE] * decay(at - touched.liked_at, half_life)
            newest = max(newest, touched.liked_at)
        if touched.favorited_at is not None:
            weight += weights[FAVORITE] * decay(at - touched.favorited_at, half_life)
            newest = max(newest, touched.favorited_at)
        if weight >= SCORE_MIN:
            history.append(HistoryNote(note_id, weight, newest))
            if len(history) == notes_max:
                break
    return history


def _until(touched: Touched, last: int) -> Touched:
    """What was done with a note up to ``last`` (epoch ms)."""
    liked, favorited = touched.liked_at, touched.favorited_at
    stamps = touched.stamps
    if stamps and stamps[-1] >> 3 > last:
        stamps = tuple(stamp for stamp in stamps if stamp >> 3 <= last)
    return replace(
        touched,
        stamps=stamps,
        liked_at=liked if liked is not None and liked <= last else None,
        favorited_at=favorited if favorited is not None and favorited <= last else None,
        folded=touched.folded if touched.folded_at <= last else 0.0,
    )
