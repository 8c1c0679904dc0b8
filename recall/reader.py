"""A reader as a query sees one: scores at a moment, what was acted on, and the records of notes, each read once per query."""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from msgspec import Struct

from models.profile import acted_on, scores_at, waiting_notes
from models.profile_update import open_profile
from recall.stores import NOTHING_SEEN, Glance, Look, Looked, Notes, Profiles, Window
from schemas.events import Tag
from schemas.settings import Settings
from schemas.stored import Profile

SCORE_MIN = 1e-9
RECENT_NOTES = 256


class KnownNotes:
    """Note records during one query: what was read once, found or not, is not read again. ``records``: those found so far."""

    def __init__(self, notes: Notes) -> None:
        self._store = notes
        self._absent: set[str] = set()
        self.records: dict[str, Glance] = {}

    def get(self, note_ids: Iterable[str]) -> dict[str, Glance]:
        """Records of the known notes among ``note_ids``, in their order; deleted ones included.

        Raises:
            Transient: when the store does not answer.
        """
        wanted = list(note_ids)
        self.read(wanted)
        records = self.records
        return {note_id: records[note_id] for note_id in wanted if note_id in records}

    def read(self, note_ids: Iterable[str]) -> None:
        """Sees to it that ``records`` has all that are known of the notes.

        Raises:
            Transient: when the store does not answer.
        """
        if missing := self._missing(note_ids):
            self._keep(missing, self._store.look(Look(notes=missing)))

    def look(self, look: Look, window: Window, limit: int) -> Looked:
        """See ``Notes``; the records come into ``records``.

        Raises:
            Transient: when the store does not answer.
        """
        missing = self._missing(look.notes)
        if not (missing or look.tags or look.categories or look.counted):
            return NOTHING_SEEN
        looked = self._store.look(look._replace(notes=missing), window, limit)
        self._keep(missing, looked)
        return looked

    def _missing(self, note_ids: Iterable[str]) -> list[str]:
        records, absent = self.records, self._absent
        return list(dict.fromkeys([note_id for note_id in note_ids if note_id not in records and note_id not in absent]))

    def _keep(self, asked: Sequence[str], looked: Looked) -> None:
        self.records.update(looked.notes)
        if len(looked.notes) < len(asked):
            self._absent.update(note_id for note_id in asked if note_id not in looked.notes)

    def tags_of(self, note_id: str) -> Sequence[Tag] | None:
        """A note's tags; None while nothing is known of the note."""
        record = self.get([note_id]).get(note_id)
        return None if record is None else record.tags


class Reader(Struct, frozen=True):
    """A reader at a moment. ``scores``: profile tags, highest first; ``liked``: those above zero; ``pending``: how many actions wait for
    tags."""

    user_id: str
    profile: Profile
    scores: dict[str, float]
    liked: dict[str, float]
    pending: int
    acted_on: Collection[str]

    @property
    def recent_notes(self) -> list[str]:
        """The notes acted on last, newest first, at most 256."""
        return list(islice((note_id for note_id in reversed(self.profile.notes) if note_id in self.acted_on), RECENT_NOTES))

    def top(self, count: int) -> dict[str, float]:
        """The ``count`` highest scored of the liked tags."""
        return dict(islice(self.liked.items(), count))


def read_reader(user_id: str, as_of: int, profiles: Profiles, notes: KnownNotes, settings: Settings) -> Reader:
    """Reads a profile as it stands at ``as_of``: waiting actions count as soon as their note has tags, written back or not.

    Raises:
        Transient: when Redis does not answer.
    """
    profile = open_profile(profiles.read([user_id])[user_id].record, settings)
    notes.get(waiting_notes(profile))
    scores = scores_at(profile, as_of, settings, notes.tags_of)
    return Reader(
        user_id=user_id,
        profile=profile,
        scores=scores,
        liked={text: score for text, score in scores.items() if score > SCORE_MIN},
        pending=sum(notes.tags_of(action.note_id) is None for action in profile.pending),
        acted_on=acted_on(profile, settings.recall_filter_impressions),
    )


class TagScore(Struct, frozen=True):
    """A profile tag with its score."""

    text: str
    score: float


class ProfileView(Struct, frozen=True):
    """A profile as it is shown; ``tags`` highest first."""

    user_id: str
    as_of: int
    actions: int
    pending: int
    tags: list[TagScore]


def view_profile(reader: Reader, as_of: int, k: int) -> ProfileView:
    """The ``k`` highest scored tags of a reader."""
    tags = [TagScore(text, score) for text, score in islice(reader.scores.items(), k)]
    return ProfileView(reader.user_id, as_of, reader.profile.actions, reader.pending, tags)
