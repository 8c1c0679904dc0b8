"""Profile arithmetic, the reading side: what a record says at a moment. ``models/profile_update.py`` is the writing side. No I/O, no clock.

A profile holds facts (which note, which action, when, with which tags), not sums. So an undo is exact by construction, a score can be asked
for any moment, and one event costs the same however many tags its note has. A score is computed on reading:

    score(tag, T) = sum over the actions that stand of weight x 2 ** (-max(0, T - occurred_at) / half_life)

Facts are bounded. What leaves them keeps counting as a forward-decayed sum (Cormode et al., Forward Decay, ICDE 2009): clicks on one note
beyond the 16 newest in ``Touched.folded``, notes beyond the last ``profile_max_notes`` and clicks for tags that a note has no more in
``Profile.residue``. So a score is exact for every T not earlier than the newest action that left; for an earlier T such a sum counts as it
stood at its newest action.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal, get_args

import msgspec
import xxhash
from msgspec import Struct

from models.roles import ActedNote
from schemas.events import Tag
from schemas.settings import Settings
from schemas.stored import Profile, Touched

SCORE_MIN = 1e-9
HISTORY_NOTES = 256
REPEATED = ("impression", "click", "view", "comment", "share")
CODES = {"impression": 0, "click": 1, "view": 2, "comment": 3, "share": 4, "like": 5, "favorite": 6, "unlike": 7, "unfavorite": 8}
LIKE, FAVORITE, UNLIKE, UNFAVORITE = 5, 6, 7, 8
GiveUpReason = Literal["note_never_tagged", "too_many_pending"]
GIVE_UP_REASONS = frozenset(get_args(GiveUpReason))
"""Why an action that waited for its note's tags will not count."""

Fact = tuple[int, int, bytes, list[Any]]
"""An action as a record's tail keeps it: code, occurred_at, hash of the event id, and the note as ``[note_id, packed tags]``, or only
``[note_id]`` while it has none."""
TagsOf = Callable[[str], Sequence[Tag] | None]


class Rules(Struct, frozen=True):
    """The settings of the arithmetic. ``codes``: action -> code, without entry for an action that leaves no trace; ``weights``: by code."""

    codes: dict[str, int]
    weights: tuple[float, ...]
    half_life_ms: float
    max_tags: int
    max_notes: int
    max_pending: int
    pending_ms: float


class ActionRef(Struct, frozen=True):
    """One action behind a profile tag."""

    note_id: str
    action: str
    occurred_at: int


class ActedOn(Collection[str]):
    """Notes a reader acted on. Iteration and length give those still in the record; ``in`` also knows the last 20,000 that fell out, by a
    32-bit hash (with all of them there, one other note in 200,000 is taken for one of them)."""

    def __init__(self, notes: set[str], forgotten: bytes) -> None:
        self._notes = notes
        self._forgotten = {forgotten[at : at + 4] for at in range(0, len(forgotten), 4)}

    def __contains__(self, note_id: object) -> bool:
        if note_id in self._notes:
            return True
        return bool(self._forgotten) and isinstance(note_id, str) and short_hash(note_id) in self._forgotten

    def __iter__(self) -> Iterator[str]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings ask for."""
    weights = settings.action_weights()
    unseen = not weights["impression"] and not settings.recall_filter_impressions
    return Rules(
        codes={action: code for action, code in CODES.items() if code or not unseen},
        weights=tuple(weights.get(action, 0.0) for action in CODES),
        half_life_ms=settings.half_life_ms,
        max_tags=settings.profile_max_tags,
        max_notes=settings.profile_max_notes,
        max_pending=settings.profile_max_pending,
        pending_ms=settings.profile_pending_hours * 3_600_000.0,
    )


_encode_texts = msgspec.msgpack.Encoder().encode
unpack_tags = msgspec.msgpack.Decoder(tuple[str, ...]).decode


def pack_tags(tags: Sequence[Tag]) -> bytes:
    """The texts of a note's tags as a record keeps them."""
    return _encode_texts([tag.text for tag in tags])


def waiting_notes(profile: Profile) -> set[str]:
    """Notes without tags so far that actions of the reader wait for."""
    return {action.note_id for action in profile.pending}


def scores_at(profile: Profile, as_of: int, settings: Settings, tags_of: TagsOf) -> dict[str, float]:
    """A reader's tag scores at ``as_of`` (epoch ms), highest first, ties by text, at most ``profile_max_tags``; nothing below 1e-9.

    Args:
        tags_of: the tags a note has now, None if unknown; asked for ``waiting_notes`` only: an action counts as soon as they are there.
    """
    rules = rules_of(settings)
    half_life = rules.half_life_ms
    scores: dict[str, float] = defaultdict(float)
    if profile.residue:
        age = max(as_of, profile.residue_at) - profile.landmark
        left = decay(age, half_life)
        for text, units in profile.residue.items():
            scores[text] = units * left
    for note_id, touched in profile.notes.items():
        for packed, weight in _standing(touched, as_of, rules):
            for text in _texts(note_id, packed, tags_of):
                scores[text] += weight
    kept = sorted((item for item in scores.items() if abs(item[1]) >= SCORE_MIN), key=lambda item: (-item[1], item[0]))
    return dict(kept[: rules.max_tags] if rules.max_tags else kept)


def history_at(profile: Profile, as_of: int, settings: Settings, tags_of: TagsOf, notes_max: int = HISTORY_NOTES) -> list[ActedNote]:
    """What a reader's actions on notes weigh at ``as_of``, the notes acted on last first; the learned channels' view of a reader.

    An action on a note that was tagged anew since counts with the tags it has now. Notes that left the record are not among them.
    """
    rules = rules_of(settings)
    history: list[ActedNote] = []
    for note_id in reversed(profile.notes):
        touched = profile.notes[note_id]
        weight = math.fsum(weight for _, weight in _standing(touched, as_of, rules))
        if weight < SCORE_MIN:
            continue
        history.append(ActedNote(note_id, weight, _texts(note_id, touched.tags, tags_of)))
        if len(history) == notes_max:
            break
    return history


def actions_behind(profile: Profile, tags_of: TagsOf) -> dict[str, list[ActionRef]]:
    """By profile tag the actions that raised it and still stand, newest first. Those that left the record's bounds are not among them."""
    found: list[tuple[ActionRef, bytes | None]] = []
    for note_id, touched in profile.notes.items():
        found += [(ActionRef(note_id, REPEATED[stamp & 7], stamp >> 3), touched.tags) for stamp in touched.stamps]
        if touched.liked_at is not None:
            found.append((ActionRef(note_id, "like", touched.liked_at), touched.like_tags or touched.tags))
        if touched.favorited_at is not None:
            found.append((ActionRef(note_id, "favorite", touched.favorited_at), touched.favorite_tags or touched.tags))
    found.sort(key=lambda pair: (-pair[0].occurred_at, pair[0].note_id, pair[0].action))
    behind: dict[str, list[ActionRef]] = defaultdict(list)
    for action, packed in found:
        for text in _texts(action.note_id, packed, tags_of):
            behind[text].append(action)
    return dict(behind)


def acted_on(profile: Profile, impressions: bool = False) -> ActedOn:
    """The notes the reader acted on; with ``impressions`` also those only shown, as far as the setting had them recorded."""
    return ActedOn({note_id for note_id, touched in profile.notes.items() if touched.acted or impressions}, profile.forgotten)


def decay(age_ms: float, half_life_ms: float) -> float:
    """What is left of 1 after ``age_ms``; nothing is lost without a half-life or before its time."""
    return 2.0 ** (-age_ms / half_life_ms) if half_life_ms and age_ms > 0 else 1.0


def short_hash(note_id: str) -> bytes:
    """Four bytes that stand for a note which fell out of a profile."""
    return xxhash.xxh3_64_digest(note_id.encode())[:4]


def _standing(touched: Touched, as_of: int, rules: Rules) -> list[tuple[bytes | None, float]]:
    """What a note adds at a moment, by the tags it adds to."""
    half_life, weights = rules.half_life_ms, rules.weights
    weight = touched.folded * decay(as_of - touched.folded_at, half_life) if touched.folded else 0.0
    for stamp in touched.stamps:
        weight += weights[stamp & 7] * decay(as_of - (stamp >> 3), half_life)
    apart: list[tuple[bytes | None, float]] = []
    for at, packed, full in (
        (touched.liked_at, touched.like_tags, rules.weights[LIKE]),
        (touched.favorited_at, touched.favorite_tags, rules.weights[FAVORITE]),
    ):
        if at is None:
            continue
        if packed is None:
            weight += full * decay(as_of - at, half_life)
        else:
            apart.append((packed, full * decay(as_of - at, half_life)))
    if weight:
        apart.append((touched.tags, weight))
    return apart


def _texts(note_id: str, packed: bytes | None, tags_of: TagsOf) -> Sequence[str]:
    """The texts that an action counts for; those the note has now where it is still waiting."""
    if packed is not None:
        return unpack_tags(packed)
    return [tag.text for tag in tags_of(note_id) or ()]
